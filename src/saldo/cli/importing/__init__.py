"""Imports of files: reading, mapping and sending of rows, and the file of rejected rows."""
