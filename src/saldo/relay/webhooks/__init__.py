"""Webhooks: each subscription is a sink; what fails waits in the database and is tried again."""
