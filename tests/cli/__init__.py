"""The command line, as a shell calls it."""
