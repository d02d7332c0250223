"""Networks for texts: transformers, and texts as they take them."""
