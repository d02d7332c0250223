"""Parents as people have them: adapters, other vocabularies, tied weights, and statistics that are computed here."""
