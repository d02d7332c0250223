"""Model x Task to Report."""
