"""Puts the load of the machine beside what pytest-benchmark saves."""

from __future__ import annotations

import os
from typing import Any


def pytest_benchmark_update_machine_info(config: object, machine_info: dict[str, Any]) -> None:
    """Add the load average of the last minute."""
    machine_info["load"] = round(os.getloadavg()[0], 1)
