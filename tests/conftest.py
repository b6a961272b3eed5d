"""Hypothesis draws the same examples in every run: a check that is green is green again, and takes as long. What
commands print is as wide as it gets: tests look for lines, and those of widths set their own.
"""

import os

from hypothesis import settings

settings.register_profile("check", derandomize=True)
settings.load_profile("check")
os.environ["COLUMNS"] = "230"
