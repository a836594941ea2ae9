"""What a partition has read and finished, and all that its commits say."""
