"""One model out of several: weights merged file to file, in constant memory, with every tensor's fate told."""
