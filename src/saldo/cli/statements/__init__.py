"""Account statements: their content and their PDF."""
