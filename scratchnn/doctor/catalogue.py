"""The known mistakes, and what each changes in the backward of a recorded forward.

Each maker yields slips: a backward pass that is right but for one rule, in one place or wherever that
rule is used. Nothing here looks at the user's gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .case import Case, Slip
from .wrong_flow import not_accumulated, passed_down, upstream
from .wrong_products import matrix_products, products, signs
from .wrong_rules import activations
from .wrong_sums import biases, weights
from .wrong_values import broadcast, epsilons, overwritten, updated_early

__all__ = ["CATALOGUE", "slips"]

CATALOGUE: dict[str, str] = {
    "sum-for-mean": "the gradient of a sum where the forward takes a mean",
    "mean-for-sum": "the gradient of a mean where the forward takes a sum",
    "divided-twice": "the mean's division by the number of examples was made twice",
    "divided-by-another-size": "the mean's division is by another number than the forward's",
    "sign-flipped": "the sign of the gradient is flipped",
    "factor-2-dropped": "the 2 of the squared error's derivative is missing",
    "factor-2-doubled": "the 2 of the squared error's derivative was multiplied in twice",
    "constant-factor": "the gradient is off by a constant",
    "weight-term": "a multiple of the weight itself is added to its gradient, or is missing from it",
    "no-gradient": "the backward gives no gradient",
    "bias-wrong-axis": "the bias gradient is summed over the wrong axis",
    "bias-over-everything": "the bias gradient is summed over everything",
    "bias-not-summed": "the bias gradient is not summed over the batch",
    "weight-not-summed": "the weight gradient is not summed over the batch",
    "transpose": "a transpose is missing, or there is one too many",
    "product-order": "the factors of a matrix product are in the wrong order",
    "product-swapped": "a factor's gradient is dy times the factor itself instead of the other one",
    "wrong-shape": "the numbers are right and the shape is wrong",
    "derivative-at-output": "the activation's derivative is taken at its output, where it wants its input",
    "derivative-at-input": "the activation's derivative in terms of its output is applied to its input",
    "derivative-at-gradient": "the activation's derivative is taken at the upstream gradient",
    "derivative-of-another": "the derivative of another activation is used",
    "derivative-misspelt": "the activation's derivative in terms of its output is written wrongly",
    "derivative-forgotten": "the activation's derivative is forgotten",
    "derivative-twice": "the activation's derivative is applied twice",
    "relu-mask-from-gradient": "the ReLU's mask is taken from the gradient instead of the input",
    "softmax-off-diagonal": "the softmax Jacobian's off-diagonal is forgotten",
    "softmax-dot-forgotten": "the softmax's backward lacks the dot product of dy and y",
    "softmax-wrong-axis": "the softmax's backward sums over another axis than its forward",
    "softmax-twice": "the combined gradient of softmax and cross-entropy went through the softmax again",
    "log-softmax-sum-forgotten": "the log-softmax's backward lacks the sum of dy",
    "not-accumulated": "a value is used more than once and the gradients of its uses are not added up",
    "weights-updated-early": "weights are updated before the gradient is passed down through them",
    "upstream-ignored": "the upstream gradient is ignored",
    "modified-in-place": "an array that the backward needs was overwritten in place",
    "broadcast": "(N,) met (N, 1) and was broadcast to (N, N)",
    "epsilon-in-one-pass": "a small constant stands in one of the two passes only",
}


def slips(case: Case) -> Iterator[Slip]:
    """All mistakes in all places."""
    makers: list[Callable[[Case], Iterator[Slip]]] = [
        updated_early,
        overwritten,
        activations,
        biases,
        weights,
        matrix_products,
        products,
        not_accumulated,
        broadcast,
        passed_down,
        upstream,
        signs,
        epsilons,
    ]
    for maker in makers:
        yield from maker(case)
