"""Bringing separately trained networks into one order of units before they are fused."""
