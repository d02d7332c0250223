"""Sounds: what they lie in, reading, augmentation."""
