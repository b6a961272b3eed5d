"""Lane-cycles an element of the vector cores' functions: lanes with multiply-add only, or with special-function units.

Settings carry such a table (`Setting.function_cycles`); theirs are PHAZE's figures. These two are counted from public
code and documents; docs/model-cost.md, "Vector core", puts the three side by side.
"""

from __future__ import annotations

from collections.abc import Mapping


def function_cycles(
    *, exp: int, log: int, reciprocal: int, rsqrt: int, tanh: int, erf: int, sine: int
) -> Mapping[str, int]:
    """Return lane-cycles by torch's name of an operator, composites as the sums of their parts; "other" takes 1.

    A division is a reciprocal, a product and a correction; a root is x rsqrt(x); a sigmoid exp, sum, reciprocal.

    >>> FMA["exp"], FMA["sigmoid"], QUARTER_RATE["exp"]
    (12, 20, 4)
    """
    division, root, sigmoid = reciprocal + 2, rsqrt + 1, exp + 1 + reciprocal
    return {
        "other": 1,
        "native_dropout": 2,
        "native_dropout_backward": 2,
        "exp": exp,
        "log": log,
        "reciprocal": reciprocal,
        "div": division,
        "sqrt": root,
        "rsqrt": rsqrt,
        "pow": 2,  # a square or a cube in these models
        "sigmoid": sigmoid,
        "sigmoid_backward": 3,
        "tanh": tanh,
        "tanh_backward": 3,
        "erf": erf,
        "sin": sine,
        "cos": sine,
        "polar": 2 * sine + 2,
        "silu": sigmoid + 1,
        "silu_backward": sigmoid + 5,
        "gelu": erf + 3,
        "gelu_backward": erf + exp + 7,
        "softplus": exp + log + 1,
        "softmax": exp + 2,
        "softmax_backward_data": 4,
        "log_softmax": exp + 3,
        "log_softmax_backward_data": exp + 3,
        "native_layer_norm": 6,
        "native_layer_norm_backward": 10,
    }


# Operations of single-precision routines, a fused multiply-add as one. exp: scale and round 2, reduce 2 (ln 2 in two
# parts), polynomial of six coefficients 6, sum 1, exponent 1 (Cephes expf, Moshier 1989). log: exponent 2, nine
# coefficients 9, five to put together (Cephes logf). reciprocal: estimate by integer subtraction 1, three Newton steps
# of 2. rsqrt: estimate 2, three Newton steps of 3 (Lomont 2003). tanh: exp of 2x, reciprocal, 4 more. erf: a polynomial
# of five coefficients, exp of -x^2, a reciprocal, 4 more (Abramowitz and Stegun 7.1.26). sine: reduce 4, polynomial 5,
# sign 2 (Cephes sinf).
FMA = function_cycles(exp=12, log=16, reciprocal=7, rsqrt=11, tanh=23, erf=28, sine=11)

# NVIDIA: 16 results of exp2, log2, reciprocal, rsqrt, tanh, sine a cycle and multiprocessor beside 64 multiply-adds on
# V100 and A100, 128 on H100 (CUDA C++ Programming Guide, "Throughput of native arithmetic instructions"; 3.9 TFLOP/s of
# exp on H100, FlashAttention-3, arXiv 2407.08608, section 1): 4 or 8 lane-cycles. The product that turns exp2 into exp
# runs beside; erf is Abramowitz and Stegun's again: 9 operations, exp and reciprocal.
QUARTER_RATE = function_cycles(exp=4, log=4, reciprocal=4, rsqrt=4, tanh=4, erf=17, sine=4)
EIGHTH_RATE = function_cycles(exp=8, log=8, reciprocal=8, rsqrt=8, tanh=8, erf=25, sine=8)
