"""Calls handlers: on the loop, in threads and in processes."""
