"""A source and a task made ready for the one loop, and how long and how fast it runs."""
