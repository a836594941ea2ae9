"""Job modules for workers under test; each is named in STREAMS_JOBS by itself."""
