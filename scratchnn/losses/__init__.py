"""Loss objects: they check at the door, keep what backward needs, and compute nothing.

    loss = loss_fn(prediction, target)          # a scalar of the prediction's dtype
    dprediction = loss_fn.backward()            # dL/dprediction, in the prediction's shape

The formulas are in `scratchnn.functional`. Names, arguments and shapes are those of torch.nn.
Shapes never broadcast here: a prediction of (N, 1) against a target of (N,) is an error.
"""

from .base import Loss
from .classes import CrossEntropyLoss, NLLLoss
from .values import BCELoss, BCEWithLogitsLoss, HuberLoss, L1Loss, MSELoss

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "HuberLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "NLLLoss",
]
