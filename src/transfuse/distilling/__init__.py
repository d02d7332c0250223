"""What a large model knows into a smaller one: teachers, losses over both, a cache of answers, proof."""
