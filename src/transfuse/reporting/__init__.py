"""Rows and pictures to the terminal, to JSON and to one HTML page."""
