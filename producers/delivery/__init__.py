"""From a record to its outcome: the Kafka client under a producer, and what becomes of each job."""
