"""The only place that wires objects together, in the order of start and stop; a room for each thing that runs."""
