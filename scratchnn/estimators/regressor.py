"""MLPRegressor."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.metaestimators import available_if

from ..checks import Array
from ..losses import BCELoss, BCEWithLogitsLoss
from .base import BaseMLP, Data
from .classifier import _steps
from .network import Head, value_head

__all__ = ["MLPRegressor"]


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """A multilayer perceptron that predicts numbers; scikit-learn's MLPRegressor, on this engine.

    All parameters of scikit-learn's have their names, defaults and meanings here, and a fit with the same
    `random_state` starts from the same weights and takes the same batches. What is added:

    Args:
        loss: "squared_error" (half of the square, as there); "huber", "l1"; "bce" for targets in [0, 1],
            which predicts through a sigmoid; or a loss object with reduction="mean".
        activation, learning_rate, dropout, verbose, dtype, engine: as for MLPClassifier.
    Attributes: as MLPClassifier's, without classes_. With several outputs the loss is their sum.
    """

    _numeric_targets = True

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | str = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        dropout: Any = 0.0,
        dtype: Any = "auto",
        engine: str = "auto",
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dropout = dropout
        self.dtype = dtype
        self.engine = engine

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Self:
        """Train on X and y; with `warm_start`, go on where the last fit ended.

        Args:
            y: (N,) or (N, M) numbers. X, sample_weight, X_val, y_val: as MLPClassifier.fit.
        Raises: as MLPClassifier.fit.
        """
        return self._fit(X, y, sample_weight, X_val, y_val, incremental=False)

    @available_if(_steps)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One epoch more over these rows, exactly as the next epoch of a longer fit."""
        return self._fit(X, y, sample_weight, None, None, incremental=True)

    def predict(self, X: Any) -> Array:
        """(N,) the value for each row; (N, M) for several outputs."""
        output = self._output(X)
        return output[:, 0] if self.n_outputs_ == 1 else output

    # ---- for the base ---------------------------------------------------------------------------

    def _learn_targets(self, y: Any) -> None:
        self.n_outputs_ = 1 if np.ndim(y) == 1 else np.shape(y)[1]

    def _make_head(self) -> Head:
        return value_head(type(self).__name__, self.loss)

    def _encode(self, y: Any) -> Array:
        with np.errstate(over="ignore"):
            table = np.asarray(y, self._dtype).reshape(len(y), -1)
        if table.shape[1] != self.n_outputs_:
            raise ValueError(f"`y` has {table.shape[1]} columns; the first fit had {self.n_outputs_}")
        if not np.isfinite(table).all():
            raise ValueError(f"Input y contains infinity or a value too large for dtype('{self._dtype}').")
        probabilities = (isinstance(self.loss, str) and self.loss == "bce") or isinstance(
            self.loss, (BCELoss, BCEWithLogitsLoss)
        )
        if probabilities and not ((table >= 0) & (table <= 1)).all():
            raise ValueError(f"{type(self).__name__} got loss={self.loss!r} and targets outside [0, 1]")
        return table

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def _score_output(self, output: Array, data: Data) -> float:
        """R2."""
        if not np.isfinite(output).all():
            return float("nan")
        return float(r2_score(data.target, output, sample_weight=data.weight))
