"""Whether a job may start now."""
