"""Faust's consumer with this project's fetches, commits and rebalances."""
