"""Is a backward pass right? Numeric derivatives against anybody's analytic ones.

`gradcheck` measures the derivative of a layer, a model with a loss, or a pair (op, op_vjp) from its
forward alone and compares what its backward says; `check_gradients` does so for gradients that are there
already. `scratchnn.doctor` names the mistake.
"""

from .check import gradcheck
from .given import check_gradients, numeric_gradient
from .report import GradcheckError, GradcheckReport, TensorCheck

__all__ = [
    "GradcheckError",
    "GradcheckReport",
    "TensorCheck",
    "check_gradients",
    "gradcheck",
    "numeric_gradient",
]
