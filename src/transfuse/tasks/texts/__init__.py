"""Texts: what they lie in, reading, twins."""
