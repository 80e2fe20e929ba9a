"""Optimizers: SGD, Adam and AdamW with torch's parameter groups, state and argument checks.

No formulas: each step gathers the arrays of one parameter and hands them to `functional.updates`.
Parameters change in place, so views of `Parameter.data` stay valid; gradients are never modified.
"""

from .adam import Adam, AdamW
from .optimizer import Optimizer
from .sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer"]
