"""The figures: their files, tables and plots, and what follows from them for larger clusters."""
