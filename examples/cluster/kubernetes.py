"""A search on Kubernetes: `python examples/cluster/kubernetes.py`, where kubectl reaches the cluster.

Needs `pip install 'hardplace[distributed]' dask-kubernetes` here, the operator of Dask in the cluster
(`helm install --repo https://helm.dask.org --create-namespace -n dask-operator --generate-name dask-kubernetes-operator`)
and the image of examples/cluster/Dockerfile, made of the same checkout and with the same Python: workers of other
sources are refused.
"""

import subprocess

from dask_kubernetes.operator import KubeCluster

with KubeCluster(
    name="hardplace",
    namespace="default",
    image="registry.example.org/hardplace:0.1.0",
    n_workers=8,  # the loop starts at most eight refinements at a time
    worker_command=["dask", "worker", "--nthreads", "1"],  # the operator adds the name and the scheduler's address
    resources={"requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "1", "memory": "4Gi"}},
    env={"OPENBLAS_NUM_THREADS": "1"},
) as cluster:
    subprocess.run(
        ["hardplace", "search", "llama2-7b", "--out", "llama2-7b", "--scheduler", cluster.scheduler_address], check=True
    )
