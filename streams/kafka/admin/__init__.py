"""Questions to the cluster, and its topics: that they are there, and fit."""
