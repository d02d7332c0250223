"""Tables: what they lie in, roles of columns, rows as numbers, leaks."""
