"""When recurring schedules fire, what they are, and what a new definition of one does with the one that is there."""
