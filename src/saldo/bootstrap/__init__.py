"""The wiring of objects and the order of their start and stop, with one module for each thing that runs."""
