"""Reads a dead-letter topic, and what the cluster says of it."""
