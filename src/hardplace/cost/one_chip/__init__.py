"""Seconds of a model's operators on one chip."""
