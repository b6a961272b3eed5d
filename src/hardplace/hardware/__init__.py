"""Accelerators, networks, budgets, and spaces of chips."""
