"""Which source to start from: judged by what its frozen features say about the user's own examples."""
