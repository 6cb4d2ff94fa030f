"""What arrives: synthetic mixtures, and readers of recorded traces."""
