"""Candidates, bounds and refinements of the search over chips."""
