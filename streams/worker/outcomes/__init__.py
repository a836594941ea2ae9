"""Makes the outcome of a job durable: dead letters, retries, follow-up jobs."""
