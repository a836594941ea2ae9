"""Everything the demonstration runs on: broker, servers, worker, producer."""
