"""The queues that ship with the project, one module a queue. Add a module here, or name a package in STREAMS_JOBS."""
