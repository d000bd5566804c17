"""What the head does on features that it has never seen, against every peer, by data set and kind of episodes."""
