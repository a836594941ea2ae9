"""Where records go: the names of topics, and the partitions of keys."""
