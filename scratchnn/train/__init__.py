"""Training: `fit`, one loop for every engine."""

from .fit import Callback, DivergenceError, FitState, fit
from .numpy_engine import Block, Engine, NumpyEngine, evaluate

__all__ = ["Block", "Callback", "DivergenceError", "Engine", "FitState", "NumpyEngine", "evaluate", "fit"]
