"""Networks for tables: the tabular network, trees as tensors, rows as they take them, mixed columns."""
