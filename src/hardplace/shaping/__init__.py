"""Model shapes: which trains faster on a given device at the same size, and why."""
