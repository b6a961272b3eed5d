"""Number formats of the tensor cores: bytes of operands, of sums, of results, and the rate against bf16."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """A format in which an array multiplies, and the wider one in which it adds up.

    rate: multiply-accumulates a cycle of one array against bf16; above 1 a unit takes several products of one sum
    (the array is deeper), below 1 a row of operands takes 1/rate cycles.
    """

    name: str
    operand_bytes: int
    sum_bytes: int
    result_bytes: int
    rate: float


# Rates against bf16 as NVIDIA's A100 and H100 data sheets have them (dense): tf32 1/2, fp8 and int8 2; fp32 on the
# arrays as on TPUs, where a product takes several bf16 passes (bf16_3x ... bf16_6x; Henry, Tang, Heinecke 2019,
# arXiv 1904.06376): 1/4. Sums are fp32, int32 for int8 (both 4 bytes) on all of them (TPU v4, A100, H100).
PRECISIONS = {
    one.name: one
    for one in (
        Precision(name="fp32", operand_bytes=4, sum_bytes=4, result_bytes=4, rate=0.25),
        Precision(name="tf32", operand_bytes=4, sum_bytes=4, result_bytes=4, rate=0.5),
        Precision(name="bf16", operand_bytes=2, sum_bytes=4, result_bytes=2, rate=1.0),
        Precision(name="fp16", operand_bytes=2, sum_bytes=4, result_bytes=2, rate=1.0),
        Precision(name="fp8", operand_bytes=1, sum_bytes=4, result_bytes=2, rate=2.0),
        Precision(name="int8", operand_bytes=1, sum_bytes=4, result_bytes=2, rate=2.0),
    )
}
BF16 = PRECISIONS["bf16"]
