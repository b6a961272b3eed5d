"""A chip for each stage of a pipeline: two kinds at most, and a bound for any number of them."""
