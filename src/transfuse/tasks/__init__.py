"""Labelled data to Tasks: opened, checked, split, decoded, augmented."""
