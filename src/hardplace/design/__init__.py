"""Chips that do not exist: the search for the best of them."""
