"""Keras: its archives, HDF5, and the configurations that networks are rebuilt from."""
