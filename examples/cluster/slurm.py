"""A search on a SLURM cluster: `python examples/cluster/slurm.py`, on a machine from which sbatch works.

Needs `pip install 'hardplace[distributed]' dask-jobqueue` in an environment that all nodes see, such as one in the home
folder: workers start with this Python, and so run the same sources as the search.
"""

import subprocess

from dask_jobqueue import SLURMCluster

with SLURMCluster(
    queue="normal",
    account="mine",
    cores=1,  # one refinement at a time: the solver has one thread
    processes=1,
    memory="4 GB",
    walltime="01:00:00",
    job_script_prologue=["export OPENBLAS_NUM_THREADS=1"],
) as cluster:
    cluster.scale(jobs=8)  # the loop starts at most eight refinements at a time
    subprocess.run(
        ["hardplace", "search", "llama2-7b", "--out", "llama2-7b", "--scheduler", cluster.scheduler_address], check=True
    )
