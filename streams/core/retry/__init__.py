"""Whether a failed job is tried again, and when."""
