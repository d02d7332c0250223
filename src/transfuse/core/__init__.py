"""Nouns, errors, tables, provenance, atomic writing, keyed randomness. Standard library only."""
