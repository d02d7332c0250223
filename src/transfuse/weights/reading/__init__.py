"""Named tensors out of files that were judged, one file a format; from the very stream that was judged."""
