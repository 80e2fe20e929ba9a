"""Layers: state, no formulas.

A layer's forward calls an op of `functional` and remembers what the op's vjp needs; its backward
hands dL/dy and those saved arrays to the vjp, adds the parameters' gradients to their `grad` and
returns dL/dx. Names, defaults, shapes and printing are torch.nn's.
"""

from .activations import Dropout, Identity, LeakyReLU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh, Threshold
from .containers import MLP, ModuleList, Sequential
from .linear import Linear
from .module import Module, Parameter

__all__ = [
    "MLP",
    "Dropout",
    "Identity",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Module",
    "ModuleList",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "Threshold",
]
