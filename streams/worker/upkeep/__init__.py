"""What a worker looks after beside running jobs: timeouts, its event loop, garbage, keys that lie oddly."""
