"""Sounds as pictures that networks hear."""
