"""Which dead letters were redriven or purged already, as a consumer group's commits say."""
