"""Settings: their names, defaults and limits, and how they are loaded from the environment and `.env`."""
