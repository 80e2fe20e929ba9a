"""scratchnn: neural networks you can see through.

Every formula is written once, run by NumPy, compiled by Numba, and judged by PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import imported  # noqa: F401 (before all that it watches)

# isort: split
from . import functional, init, lr_scheduler
from .callbacks import EarlyStopping, ModelCheckpoint
from .checkpoint import Checkpoint
from .clipping import clip_grad_norm_, clip_grad_value_
from .data import DataLoader, Subset, TensorDataset, random_split
from .doctor import diagnose
from .gradcheck import check_gradients, gradcheck, numeric_gradient
from .grid import fit_grid
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
from .losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HuberLoss,
    L1Loss,
    Loss,
    MSELoss,
    NLLLoss,
)
from .lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)
from .many import Many, fit_many
from .optim import SGD, Adam, AdamW, Optimizer
from .random import Generator, default_generator, manual_seed, rand, randint, randn, randperm
from .trace import Trace, trace
from .train import DivergenceError, FitState, fit

if TYPE_CHECKING:
    from . import files, plots, studies
    from .estimators import MLPClassifier, MLPRegressor
    from .files import export_onnx, load, save, to_python, to_torch
    from .recording import Recording, compare_runs

__version__ = "0.1.0"

__all__ = [
    "MLP",
    "SGD",
    "Adam",
    "AdamW",
    "BCELoss",
    "BCEWithLogitsLoss",
    "Checkpoint",
    "CosineAnnealingLR",
    "CrossEntropyLoss",
    "DataLoader",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "ExponentialLR",
    "FitState",
    "Generator",
    "History",
    "HuberLoss",
    "Identity",
    "L1Loss",
    "LambdaLR",
    "LeakyReLU",
    "Linear",
    "LinearLR",
    "LogSoftmax",
    "Loss",
    "MLPClassifier",
    "MLPRegressor",
    "MSELoss",
    "Many",
    "ModelCheckpoint",
    "Module",
    "ModuleList",
    "MultiStepLR",
    "NLLLoss",
    "OneCycleLR",
    "Optimizer",
    "Parameter",
    "ReLU",
    "Recording",
    "ReduceLROnPlateau",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "StepLR",
    "Subset",
    "Tanh",
    "TensorDataset",
    "Threshold",
    "Trace",
    "check_gradients",
    "clip_grad_norm_",
    "clip_grad_value_",
    "compare_runs",
    "default_generator",
    "diagnose",
    "export_onnx",
    "files",
    "fit",
    "fit_grid",
    "fit_many",
    "functional",
    "gradcheck",
    "init",
    "load",
    "lr_scheduler",
    "manual_seed",
    "numeric_gradient",
    "plots",
    "rand",
    "randint",
    "randn",
    "random_split",
    "randperm",
    "save",
    "studies",
    "to_python",
    "to_torch",
    "trace",
]

# What loads matplotlib or scikit-learn, or touches files, is imported when it is first asked for: a name,
# and the module that it is, or is in.
_LAZY = {
    "MLPClassifier": ".estimators",
    "MLPRegressor": ".estimators",
    "Recording": ".recording",
    "compare_runs": ".recording",
    "export_onnx": ".files",
    "files": ".files",
    "load": ".files",
    "plots": ".plots",
    "save": ".files",
    "studies": ".studies",
    "to_python": ".files",
    "to_torch": ".files",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        module = importlib.import_module(_LAZY[name], __name__)
        return module if _LAZY[name] == f".{name}" else getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_LAZY))
