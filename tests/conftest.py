"""Hypothesis draws the same examples in every run: a check that is green is green again, and takes as long."""

from hypothesis import settings

settings.register_profile("check", derandomize=True)
settings.load_profile("check")
