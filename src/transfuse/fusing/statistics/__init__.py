"""What training examples tell of a network: for methods that ask more than weights, and for batch normalisation."""
