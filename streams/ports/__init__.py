"""What the worker and its Kafka side hand each other: records, partitions, commits, and the consumer group."""
