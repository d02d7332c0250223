"""Changes of a body's structure, as plain values that are replayed when it is built again; one file a change."""
