"""scratchnn: neural networks you can see through.

Every formula is written once, run by NumPy, compiled by Numba, and judged by PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import functional, init
from .data import DataLoader, Subset, TensorDataset, random_split
from .doctor import diagnose
from .gradcheck import gradcheck
from .history import History
from .layers import (
    MLP,
    Dropout,
    Identity,
    LeakyReLU,
    Linear,
    LogSoftmax,
    Module,
    ModuleList,
    Parameter,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    Threshold,
)
from .losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, Loss, MSELoss, NLLLoss
from .many import Many, fit_many
from .optim import SGD, Adam, AdamW, Optimizer
from .random import Generator, default_generator, manual_seed, rand, randint, randn, randperm
from .train import DivergenceError, FitState, fit

if TYPE_CHECKING:
    from . import plots, studies

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "DataLoader",
    "DivergenceError",
    "Dropout",
    "FitState",
    "Generator",
    "History",
    "Identity",
    "L1Loss",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "Loss",
    "MSELoss",
    "Many",
    "Module",
    "ModuleList",
    "NLLLoss",
    "Optimizer",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Subset",
    "Tanh",
    "TensorDataset",
    "Threshold",
    "default_generator",
    "diagnose",
    "fit",
    "fit_many",
    "functional",
    "gradcheck",
    "init",
    "manual_seed",
    "plots",
    "rand",
    "randint",
    "randn",
    "random_split",
    "randperm",
    "studies",
]

# What loads matplotlib or scikit-learn is imported when it is first asked for.
_LAZY = {"plots": ".plots", "studies": ".studies"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(_LAZY[name], __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_LAZY))
