"""Publishes dead letters again, or purges them: which, in which order, and how fast."""
