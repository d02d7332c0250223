"""A pickle played through on stand-ins: the machine, its instructions, the names it knows, what calls may be given."""
