"""`hardplace verify`: a script that times a model's kernels on the user's own GPU."""
