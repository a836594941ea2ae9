"""Publish jobs to Kafka from any microservice."""
