"""Avro schemas and values: checked, compared, compiled, and bound to models."""
