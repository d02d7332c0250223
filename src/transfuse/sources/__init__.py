"""References to networks; preprocessing; features and their cache."""
