"""Heads from frozen features, by closed form and convex optimisation."""
