"""The console's texts in each language."""
