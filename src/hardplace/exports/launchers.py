"""Launchers: torchrun on each node, and SLURM, which starts it there; ranks are laid out node after node."""

from __future__ import annotations

import re

from hardplace.exports.job import ExportedFile, ExportJob, headed_by

PORT = 29500


def launcher_files(job: ExportJob, script: str, setup: str = "") -> tuple[ExportedFile, ...]:
    """Return torchrun.sh, which starts the processes of a node, and slurm.sbatch, which starts it on all.

    script: what each process runs, for bash. setup: lines before it; $HERE is the folder of the files.
    """
    return (
        ExportedFile(name="torchrun.sh", text=_torchrun(job, script, setup)),
        ExportedFile(name="slurm.sbatch", text=_slurm(job, "torchrun.sh")),
    )


def _torchrun(job: ExportJob, script: str, setup: str) -> str:
    each = min(job.node_devices, job.plan.devices)
    return f"""#!/usr/bin/env bash
{headed_by(job)}# One node: bash torchrun.sh. Several: on each, with HEAD=the first's name and NODE_RANK=0, 1, ...
set -euo pipefail
HERE="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
NODES={job.nodes} DEVICES_A_NODE={each}
{setup}exec torchrun --nnodes "$NODES" --nproc-per-node "$DEVICES_A_NODE" --node-rank "${{NODE_RANK:-0}}" \\
  --master-addr "${{HEAD:-localhost}}" --master-port "${{PORT:-{PORT}}}" \\
  {script} "$@"
"""


def _slurm(job: ExportJob, inner: str) -> str:
    each = min(job.node_devices, job.plan.devices)
    name = re.sub(r"[^\w.-]", "-", job.model.rpartition("/")[2].partition(".")[0]) or "-"
    return f"""#!/usr/bin/env bash
{headed_by(job)}#SBATCH --job-name={name}
#SBATCH --nodes={job.nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={each}
#SBATCH --exclusive
#SBATCH --distribution=block:block
set -euo pipefail
HERE="${{SLURM_SUBMIT_DIR:-$PWD}}"
if [ "$SLURM_JOB_NUM_NODES" != "{job.nodes}" ]; then
  echo "slurm.sbatch: $SLURM_JOB_NUM_NODES nodes: expected the plan's {job.nodes}" >&2; exit 2
fi
export HEAD="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
srun --kill-on-bad-exit=1 bash -c 'NODE_RANK=$SLURM_NODEID exec bash "$0" "$@"' "$HERE/{inner}" "$@"
"""
