"""Logistic regression: whole paths of strengths, all folds at once, each fit with a bound on its gap."""
