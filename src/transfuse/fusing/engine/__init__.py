"""What carries a plan out, file to file: by compiled loops where they can, by torch for every method."""
