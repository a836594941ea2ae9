"""One partition's jobs: lanes by key, parked keys, and how much fits in."""
