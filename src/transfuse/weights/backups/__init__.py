"""Verified copies of models and runs at any place that fsspec reaches."""
