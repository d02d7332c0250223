"""Ways of making one answer out of several models: probabilities to probabilities, one file a method."""
