"""One trunk for several tasks: what `shared` is made of."""
