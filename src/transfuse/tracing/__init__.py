"""A network's traced graph: what the axes of its tensors count, and which of them are one."""
