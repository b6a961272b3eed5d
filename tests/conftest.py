"""Hypothesis draws the same examples in every run: a check that is green is green again, and takes as long. What
commands print is as wide as it gets: tests look for lines, and those of widths set their own. Garbage is collected
seldom: models that tests share are millions of objects, and walking them took a fifth of the processor's time.
"""

import gc
import os
import signal

from hypothesis import HealthCheck, Phase, settings

# no time is asserted: a loaded machine is slow, and what it finds is the same
settings.register_profile("check", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("no-shrinking", settings.get_profile("check"), phases=(Phase.explicit, Phase.generate))
settings.load_profile("check")
os.environ["COLUMNS"] = "230"
gc.set_threshold(100_000, 50, 100)
# A shell that starts the tests in the background has them ignore Ctrl-C, and so every command that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
