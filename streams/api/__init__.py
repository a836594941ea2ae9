"""What a job module declares and is given: queues, hooks, the context of a run, and how they are found."""
