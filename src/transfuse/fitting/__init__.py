"""Verbs composed under a budget."""
