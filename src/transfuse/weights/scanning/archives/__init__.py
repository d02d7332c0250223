"""Containers: their layout, what they unpack to within limits, and every member by what it is."""
