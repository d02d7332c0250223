"""Metrics, intervals and calibration on plain arrays; used by everything above."""
