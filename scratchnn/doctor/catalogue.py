"""The known mistakes, and the gradient that each would give on a recorded forward.

Each maker yields candidates: gradients of a backward pass that is right but for one rule, in one place
or wherever that rule is used. Nothing here looks at the user's gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .case import Candidate, Case
from .wrong_flow import broadcast, not_accumulated, overwritten, updated_early, upstream
from .wrong_rules import activations, biases, signs, transposes

__all__ = ["CATALOGUE", "Candidate", "Case", "candidates"]

CATALOGUE: dict[str, str] = {
    "sum-for-mean": "the gradient of a sum where the forward takes a mean",
    "mean-for-sum": "the gradient of a mean where the forward takes a sum",
    "divided-twice": "the mean's division by the number of examples was made twice",
    "sign-flipped": "the sign of the gradient is flipped",
    "factor-2-dropped": "the 2 of the squared error's derivative is missing",
    "factor-2-doubled": "the 2 of the squared error's derivative was multiplied in twice",
    "constant-factor": "the gradient is off by a constant",
    "no-gradient": "the backward gives no gradient",
    "bias-wrong-axis": "the bias gradient is summed over the wrong axis",
    "bias-over-everything": "the bias gradient is summed over everything",
    "bias-not-summed": "the bias gradient is not summed over the batch",
    "transpose": "a transpose is missing, or there is one too many",
    "wrong-shape": "the numbers are right and the shape is wrong",
    "derivative-at-output": "the activation's derivative is taken at its output, where it wants its input",
    "derivative-at-input": "the activation's derivative in terms of its output is applied to its input",
    "derivative-forgotten": "the activation's derivative is forgotten",
    "softmax-off-diagonal": "the softmax Jacobian's off-diagonal is forgotten",
    "softmax-twice": "the combined gradient of softmax and cross-entropy went through the softmax again",
    "derivative-twice": "the activation's derivative is applied twice",
    "relu-mask-from-gradient": "the ReLU's mask is taken from the gradient instead of the input",
    "not-accumulated": "a value is used more than once and the gradients of its uses are not added up",
    "weights-updated-early": "weights are updated before the gradient is passed down through them",
    "upstream-ignored": "the upstream gradient is ignored",
    "modified-in-place": "an array that the backward needs was overwritten in place",
    "broadcast": "(N,) met (N, 1) and was broadcast to (N, N)",
}


def candidates(case: Case) -> Iterator[Candidate]:
    """All mistakes in all places; those whose gradient cannot be formed are passed over."""
    makers: list[Callable[[Case], Iterator[Candidate]]] = [
        updated_early,
        overwritten,
        activations,
        biases,
        transposes,
        not_accumulated,
        broadcast,
        upstream,
        signs,
    ]
    for maker in makers:
        yield from maker(case)
