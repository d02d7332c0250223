"""The methods of merging weights, one file each, and what carries them out tensor by tensor."""
