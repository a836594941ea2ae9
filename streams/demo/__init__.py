"""What `make run` shows: a broker, a worker and jobs that flow through them, on one terminal."""
