"""Records the models of the catalogue and writes their files, and the list of all.

python -m hardplace.workload.recording.models.catalogue [name ...]
"""

from __future__ import annotations

import sys
import time

from hardplace.files import write
from hardplace.workload.listing import LISTING, listing_of
from hardplace.workload.load import catalogue, check, load, path_of
from hardplace.workload.recording.layers import record_workload
from hardplace.workload.recording.models.entries import MODELS, step_of


def main(names: list[str]) -> None:
    """Record these models, or all, and list the catalogue; print seconds and bytes of each file."""
    for name in names or list(MODELS):
        start = time.perf_counter()
        workload = record_workload(step_of(name))
        check(workload)
        path = path_of(name)
        write(path, workload)
        print(f"{name}: {time.perf_counter() - start:.1f} s, {path.stat().st_size} bytes", flush=True)
    write(LISTING, listing_of(map(load, catalogue())))


if __name__ == "__main__":
    main(sys.argv[1:])
