"""Changes of a network's size: those that keep its function, and those that keep most of what it knows."""
