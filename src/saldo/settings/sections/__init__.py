"""Sections of the settings: a class for each subject, with its fields, their checks and derived values."""
