"""What the timekeeper has of Kafka: its group's consumer, and transactions."""
