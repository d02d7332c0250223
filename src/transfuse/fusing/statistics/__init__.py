"""What some methods want to know of every parent beside its weights, computed on training examples."""
