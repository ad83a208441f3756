"""Other frameworks: each needs its own extra."""
