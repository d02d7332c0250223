"""Heads from frozen features: ridge and logistic regression, chosen and calibrated by cross-validation."""
