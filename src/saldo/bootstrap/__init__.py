"""Creation of the program's objects from the settings, and the order in which they are started and stopped."""
