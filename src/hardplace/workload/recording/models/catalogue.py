"""Records the models of the catalogue and writes their files.

python -m hardplace.workload.recording.models.catalogue [name ...]

The public models of `public.py` are recorded by name too, into NAME.json.gz of the working folder: they do not ship.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from hardplace.files import write
from hardplace.workload.load import check, path_of
from hardplace.workload.recording.huggingface import Options, step_of_config
from hardplace.workload.recording.layers import record_workload
from hardplace.workload.recording.models.entries import MODELS, step_of
from hardplace.workload.recording.models.public import PUBLIC


def main(names: list[str]) -> None:
    """Record these models, or all; print how long each took (seconds) and its file size (bytes)."""
    for name in names or list(MODELS):
        start = time.perf_counter()
        public = PUBLIC.get(name)
        step = step_of_config(public.config, name, name, Options(), public.repository) if public else step_of(name)
        workload = record_workload(step)
        check(workload)
        path = Path(f"{name}.json.gz") if public else path_of(name)
        write(path, workload)
        print(f"{name}: {time.perf_counter() - start:.1f} s, {path.stat().st_size} bytes", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
