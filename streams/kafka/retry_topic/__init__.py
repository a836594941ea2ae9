"""Reads retry topics on assignment, and opens partitions with what they hold."""
