"""What one rank of a parallel version computes, derived from the recorded graph (docs/model-workload.md)."""

from hardplace.workload.sharding.shards import shard, tensor_parallel

__all__ = ["shard", "tensor_parallel"]
