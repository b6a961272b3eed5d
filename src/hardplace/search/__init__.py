"""Chips and plans: bounds, best-first search, certificate."""
