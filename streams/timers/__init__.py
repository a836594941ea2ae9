"""Delayed jobs: where they wait, and how each goes to its queue once, when it falls due."""
