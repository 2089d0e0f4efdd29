"""Brokers, proxies and consumers of events: RabbitMQ, the live stream, and webhooks."""
