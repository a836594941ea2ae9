"""Helpers for asyncio and threads that know no jobs."""
