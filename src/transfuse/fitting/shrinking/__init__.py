"""A trained model in several smaller sizes: shapes are searched, the best of each size learns from the whole."""
