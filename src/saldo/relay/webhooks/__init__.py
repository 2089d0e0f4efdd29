"""Webhooks: each subscription is a sink, and failed deliveries are stored in the database and retried."""
