"""Named tensors: the gate for files from outside, reading, writing, matching, interpolating."""
