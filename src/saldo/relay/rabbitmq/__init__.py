"""RabbitMQ: publishing events to a topic exchange and to a stream."""
