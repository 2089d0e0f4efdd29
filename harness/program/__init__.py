"""The program `saldo` in processes of its own: its environment, its settings, its commands, and the service."""
