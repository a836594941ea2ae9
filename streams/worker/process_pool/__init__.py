"""What the pool of processes for CPU-bound handlers is made of; `streams.worker.handlers.processes` is the pool.

Each process has a small one above it, its *guard*, which knows all that a handler has started and ends it with the
process: see `guard`. The process itself is `child`, and what it does there is in `work`; the worker's end is `member`.
"""
