"""Delayed jobs after their publication: found, listed, cancelled, and given another time."""
