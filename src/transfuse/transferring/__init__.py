"""Source x Task to network, one file a method."""
