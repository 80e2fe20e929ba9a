"""MLPClassifier."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
)

from ..checks import Array, shown
from .arguments import check_classes
from .base import BaseMLP, Data
from .network import Head, class_head

__all__ = ["MLPClassifier"]


def _steps(estimator: Any) -> bool:
    if estimator.solver == "lbfgs":
        raise AttributeError("partial_fit needs solver='adam' or 'sgd'; lbfgs takes all rows at once")
    return True


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """A multilayer perceptron that tells classes apart; scikit-learn's MLPClassifier, on this engine.

    All parameters of scikit-learn's have their names, defaults and meanings here, and a fit with the same
    `random_state` starts from the same weights and takes the same batches. What is added:

    Args:
        activation: "identity", "logistic", "tanh", "relu", "leaky_relu", or a function that makes a module;
            a list gives each hidden layer its own.
        learning_rate: also a function of an optimizer that returns a schedule (see `lr_scheduler`), for
            either solver; its `step` is called after each epoch.
        loss: "log_loss"; "bce", each class against the rest; "squared_error", "huber" or "l1" between
            probabilities and 0 or 1; or a loss object with reduction="mean".
        class_weight: {class: weight}, or "balanced"; multiplies sample_weight.
        dropout: share of each hidden layer's values that is dropped in training; one, or a list.
        verbose: also "bar", a progress bar.
        dtype: of weights and predictions: "float32", "float64", or "auto": float64 where it costs nothing,
            for inputs of float64 with at most 500 rows, else float32.
        engine: "auto", "numba" (compiled) or "numpy".
    Attributes:
        coefs_, intercepts_, loss_curve_, loss_, best_loss_, n_iter_, t_, n_layers_, n_outputs_,
        out_activation_, classes_, validation_scores_, best_validation_score_: as scikit-learn's.
        validation_loss_curve_: the loss, without penalty, of the validation rows, one an epoch.
        model_: the network, a Sequential. engine_, engine_reason_: which engine trained it, and why.
    """

    _numeric_targets = False

    def __init__(
        self,
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
        loss: Any = "log_loss",
        class_weight: Any = None,
        dropout: Any = 0.0,
        dtype: Any = "auto",
        engine: str = "auto",
    ) -> None:
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
        self.loss = loss
        self.class_weight = class_weight
        self.dropout = dropout
        self.dtype = dtype
        self.engine = engine

    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None) -> Self:
        """Train on X and y; with `warm_start`, go on where the last fit ended.

        Args:
            X: (N, D) array, data frame or sparse matrix (which is made dense).
            y: (N,) labels, or (N, M) of 0 and 1, where each column is a class or not.
            sample_weight: (N,) what each row counts; 0 is a row that is not there.
            X_val, y_val: rows whose loss and score are taken after each epoch, and which `early_stopping`
                watches in place of a part of X.
        Raises:
            ValueError, TypeError: parameters and data that make no sense, with the reason.
            DivergenceError: a loss that is not finite.
        """
        return self._fit(X, y, sample_weight, X_val, y_val, incremental=False)

    @available_if(_steps)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Self:
        """One epoch more over these rows, exactly as the next epoch of a longer fit.

        Args:
            classes: all that there will be; needed in the first call.
        """
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' is not known from a part of the rows; give partial_fit a dict, from "
                "sklearn.utils.class_weight.compute_class_weight"
            )
        check_classes(type(self).__name__, "classes", classes)
        if _check_partial_fit_first_call(self, classes):
            kind = type_of_target(y)
            self._set_classes(y if kind.startswith("multilabel") else classes, kind)
        return self._fit(X, y, sample_weight, None, None, incremental=True)

    def predict(self, X: Any) -> Array:
        """(N,) the most probable class of each row; (N, M) of 0 and 1 where columns are classes.

        The table is a sparse matrix where the targets of the fit were one.
        """
        output = self._output(X)
        if self._multilabel:
            labels = (output > 0.5).astype(int)
            return sparse.csr_matrix(labels) if self._sparse_targets else labels
        if self.n_outputs_ == 1:
            chosen = (output[:, 0] > 0.5).astype(int)
            return self.classes_[np.minimum(chosen, len(self.classes_) - 1)]
        return self.classes_[output.argmax(1)]

    def predict_proba(self, X: Any) -> Array:
        """(N, C) probability of each class, in the order of `classes_`."""
        output = self._output(X)
        if self._multilabel:
            return output
        if self.n_outputs_ == 1:
            both = np.hstack([1 - output, output])
            return both if len(self.classes_) == 2 else np.ones_like(output)
        if self.out_activation_ == "logistic":  # one against the rest: made to add up
            return output / np.maximum(output.sum(1, keepdims=True), np.finfo(output.dtype).tiny)
        return output

    def predict_log_proba(self, X: Any) -> Array:
        """(N, C) the logarithm of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    # ---- for the base ---------------------------------------------------------------------------

    def _set_classes(self, y: Any, kind: str) -> None:
        self._multilabel = kind.startswith("multilabel")
        self._sparse_targets = sparse.issparse(y)
        self.classes_ = np.arange(np.shape(y)[1]) if self._multilabel else np.unique(y)
        self.n_outputs_ = len(self.classes_) if self._multilabel or len(self.classes_) > 2 else 1

    def _learn_targets(self, y: Any) -> None:
        kind = type_of_target(y, input_name="y")
        if kind not in ("binary", "multiclass"):
            check_classification_targets(y)
        self._set_classes(y if kind.startswith("multilabel") else column_or_1d(y, warn=True), kind)

    def _check_targets(self, y: Any) -> None:
        if not self.warm_start or self._multilabel:
            return
        classes = np.unique(column_or_1d(y))
        if set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {self.classes_}, `y` has {classes}"
            )

    def _make_head(self) -> Head:
        return class_head(type(self).__name__, self.loss, self.n_outputs_ > 1 and not self._multilabel)

    def _encode(self, y: Any) -> Array:
        if self._multilabel:
            table = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
            if table.ndim != 2 or table.shape[1] != self.n_outputs_:
                raise ValueError(
                    f"`y` has shape {table.shape}; it must have a column for each of the {self.n_outputs_} "
                    "classes of the first fit"
                )
            return (table != 0).astype(self._dtype)
        y = column_or_1d(y)
        indices = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        if (self.classes_[indices] != y).any():
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {np.unique(y)}."
            )
        if self.n_outputs_ == 1:
            return indices[:, None].astype(self._dtype)
        if class_head(type(self).__name__, self.loss, True).indices:
            return indices
        return (indices[:, None] == np.arange(self.n_outputs_)).astype(self._dtype)

    def _row_weights(self, y: Any, sample_weight: Array | None) -> Array | None:
        if self.class_weight is None:
            return sample_weight
        balanced = isinstance(self.class_weight, str) and self.class_weight == "balanced"
        each = self.class_weight if isinstance(self.class_weight, list) else [self.class_weight]
        if not balanced and not (each and all(isinstance(weights, dict) for weights in each)):
            raise ValueError(
                f"{type(self).__name__} got class_weight={shown(self.class_weight)}; it needs None, "
                "'balanced', or a dict {class: weight}"
            )
        if balanced and sample_weight is not None:
            return sample_weight * _balanced(y, sample_weight).astype(self._dtype)
        weight = compute_sample_weight(self.class_weight, y).astype(self._dtype)
        return weight if sample_weight is None else weight * sample_weight

    def _strata(self, target: Array) -> Array | None:
        return target > 0 if self.n_outputs_ == 1 else None

    def _score_output(self, output: Array, data: Data) -> float:
        """Accuracy: the share of rows that are wholly right."""
        if self.n_outputs_ == 1 or self._multilabel:
            right = ((output > 0.5) == (data.target > 0.5)).all(1)
        else:
            wanted = data.target if data.target.ndim == 1 else data.target.argmax(1)
            right = output.argmax(1) == wanted
        return float(np.average(right, weights=data.weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _balanced(y: Any, sample_weight: Array) -> Array:
    """(N,) the factor of each row that gives all classes the same sum of weights, for each column of y.

    scikit-learn counts rows; here a row of weight 2 counts as two rows.
    """
    table = np.asarray(y.toarray() if sparse.issparse(y) else y)
    factor = np.ones(len(table))
    for column in table.reshape(len(table), -1).T:
        _, classes = np.unique(column, return_inverse=True)
        sums = np.bincount(classes, weights=sample_weight)
        present = sums > 0
        share = np.divide(sums.sum() / present.sum(), sums, out=np.zeros_like(sums), where=present)
        factor *= share[classes]
    return factor
