"""Writes the worker's own records, each until the broker has it."""
