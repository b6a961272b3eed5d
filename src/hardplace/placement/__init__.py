"""Layers of a model onto devices."""
