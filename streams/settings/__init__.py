"""A worker's settings, and where they are read from."""

from streams.settings.settings import Settings

__all__ = ["Settings"]
