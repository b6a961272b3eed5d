"""Other ways to search the same space with the same evaluations, to compare the certified search with."""
