"""What `python -m schemas.generate` is made of: models from schemas."""
