"""Model x inputs to answers; saved Models."""
