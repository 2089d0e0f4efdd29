"""Sections of the settings. Each class has the settings of one subject, their checks, and values derived from them."""
