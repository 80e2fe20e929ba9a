"""What classifier and regressor share: the course of a fit, and what it leaves behind."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import assert_all_finite, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..checks import Array
from ..history import History
from ..layers import Dropout, Linear, Sequential
from ..objective import Objective
from ..optim import SGD, Adam, Optimizer
from ..random import Generator
from ..train.fit import DivergenceError, FitState, run_epochs
from ..train.progress import progress_bar
from .arguments import check_table, check_targets, check_weights
from .network import LINKS, Head, arrange, make_network, through
from .parameters import check_parameters, widths_of
from .training import Orders, Rows, make_engine
from .watch import Watch
from .weights import LayerArrays

__all__ = ["BaseMLP"]

BATCH_SIZE = 200  # batch_size="auto"
SMALL = 500  # rows that dtype="auto" trains on in float64
NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
    "preprocessed."
)
# A fit that continues after one of these was changed starts with a new optimizer, as every fit does in
# scikit-learn.
OF_THE_OPTIMIZER = {
    "solver", "learning_rate", "learning_rate_init", "power_t", "momentum", "nesterovs_momentum",
    "beta_1", "beta_2", "epsilon",
}  # fmt: skip


@dataclass
class Data:
    """Rows, what is wanted of each, and what each counts (None: 1)."""

    X: Array
    target: Array
    weight: Array | None = None

    def of(self, rows: Array) -> Data:
        """Some of the rows."""
        return Data(self.X[rows], self.target[rows], None if self.weight is None else self.weight[rows])

    def packed(self, objective: Objective) -> Array:
        """Targets as the objective takes them."""
        if self.weight is None:
            return objective.convert_target(self.target, self.X.dtype)
        return objective.convert_target(np.column_stack([self.target, self.weight]), self.X.dtype)


class BaseMLP(BaseEstimator):  # type: ignore[misc]
    """The course of a fit. A subclass says what targets are."""

    _dtype: np.dtype[Any]

    # ---- what a subclass says -------------------------------------------------------------------

    def _learn_targets(self, y: Any) -> None:
        """Before the first fit: the classes, the number of outputs."""
        raise NotImplementedError

    def _check_targets(self, y: Any) -> None:
        """Raise ValueError where a fit that continues cannot continue with these."""

    def _encode(self, y: Any) -> Array:
        """y as the loss takes it: class indices (N,), or numbers (N, M)."""
        raise NotImplementedError

    def _make_head(self) -> Head:
        raise NotImplementedError

    def _score_output(self, output: Array, data: Data) -> float:
        """What early stopping watches, from the network's linked output: accuracy, or R2."""
        raise NotImplementedError

    def _row_weights(self, y: Any, sample_weight: Array | None) -> Array | None:
        return sample_weight

    def _strata(self, target: Array) -> Array | None:
        return None

    # ---- fit ------------------------------------------------------------------------------------

    def _fit(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any, incremental: bool) -> Self:
        check_parameters(self)
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "model_") or not (self.warm_start or incremental)
        before = dict(vars(self))
        try:
            self._begin(X, y, sample_weight, X_val, y_val, incremental, first)
        except BaseException:
            if first:  # nothing of a fit that failed stays
                self.__dict__.clear()
                self.__dict__.update(before)
            raise
        return self

    def _begin(
        self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any, incremental: bool, first: bool
    ) -> None:
        data = self._data(X, y, sample_weight, first, incremental)
        if (X_val is None) != (y_val is None):
            raise ValueError("fit got one of X_val and y_val; give it both, or neither")
        if first:
            self._start(data.X.shape[1])
        else:
            self._take_settings()
        held_out = None
        if X_val is not None:
            X_val, y_val = self._validated(X_val, y_val, False, ("X_val", "y_val"))
            held_out = Data(X_val, self._encode(y_val))
        elif self.early_stopping and self.solver != "lbfgs":
            data, held_out = self._split(data)
        if self.solver == "lbfgs":
            self._minimise(data)
        else:
            self._train(data, held_out, incremental)

    def _data(self, X: Any, y: Any, sample_weight: Any, first: bool, incremental: bool) -> Data:
        X, y = self._validated(X, y, first)
        weight = None
        check_weights(type(self).__name__, "sample_weight", sample_weight, len(X))
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, X, dtype=X.dtype)
        if (first and not incremental) or (first and not hasattr(self, "classes_")):
            self._learn_targets(y)
        if not first:
            self._check_targets(y)
        weight = self._row_weights(y, weight)
        data = Data(X, self._encode(y), weight)
        if weight is None:
            return data
        if (weight < 0).any() or not (weight > 0).any():
            raise ValueError(
                f"{type(self).__name__} got weights of rows that are negative, or all zero; "
                "they must be at least 0, and some above"
            )
        # A row that counts nothing is no row.
        return data if (weight > 0).all() else data.of(np.flatnonzero(weight))

    def _validated(
        self, X: Any, y: Any, first: bool, names: tuple[str, str] = ("X", "y")
    ) -> tuple[Array, Any]:
        owner = type(self).__name__
        rows = check_table(owner, names[0], X)
        check_targets(owner, names[1], y, rows, self._numeric_targets)
        X, y = validate_data(
            self,
            X,
            y,
            reset=first,
            accept_sparse=("csr", "csc"),
            dtype=(np.float64, np.float32) if first else self._dtype,
            multi_output=True,
            y_numeric=self._numeric_targets,
        )
        if first:
            self._dtype = np.dtype(self.dtype if self.dtype != "auto" else _dtype_for(X))
            with np.errstate(over="ignore", invalid="ignore"):
                X = X.astype(self._dtype, copy=False)
                assert_all_finite(X, input_name="X")
        return _dense(X), y

    def _start(self, features: int) -> None:
        """A new network, with all that a run counts and draws at its beginning."""
        owner, widths = type(self).__name__, widths_of(self)
        self._head = self._make_head()
        self.out_activation_ = self._head.out_activation
        self.n_layers_ = len(widths) + 2
        self._random_state = check_random_state(self.random_state)
        self.model_: Sequential = make_network(
            owner,
            [features, *widths, self.n_outputs_],
            self.activation,
            self.dropout,
            self._head.ends,
            self._dtype,
            self._random_state,
        ).eval()
        self._settings = self.get_params(deep=False)
        self._dropout_generator: Generator | None = None
        self._seed_dropout()
        self._optimizer: Optimizer | None = None
        self._orders: Orders | None = None
        self._split_state: Any = None
        self._watch = Watch()
        self.t_ = 0
        self.loss_curve_: list[float] = []
        self.validation_loss_curve_: list[float] = []

    def _seed_dropout(self) -> None:
        drops = any(isinstance(module, Dropout) for module in self.model_.modules())
        if drops and self._dropout_generator is None:
            seed = int(self._random_state.randint(np.iinfo(np.int32).max))
            self._dropout_generator = Generator().manual_seed(seed)

    def _take_settings(self) -> None:
        """Continue with the parameters that the estimator has now, where some were set since the last fit.

        Raises:
            ValueError: other hidden layers or another dtype: those need new weights.
        """
        owner, layers = type(self).__name__, self._linear_layers()
        widths, held = widths_of(self), [layer.out_features for layer in layers[:-1]]
        if widths != held:
            raise ValueError(
                f"{owner} got hidden_layer_sizes={self.hidden_layer_sizes!r} where the weights to go on from "
                f"have {held}; set warm_start=False and call fit for new ones"
            )
        if self.dtype != "auto" and np.dtype(self.dtype) != self._dtype:
            raise ValueError(
                f"{owner} got dtype={self.dtype!r} where the weights to go on from are {self._dtype}; set "
                "warm_start=False and call fit for new ones"
            )
        settings = self.get_params(deep=False)
        changed = {name for name, value in settings.items() if not _same(value, self._settings[name])}
        if changed & {"activation", "dropout", "loss"}:
            head = self._make_head()
            model = arrange(owner, layers, self.activation, self.dropout, head.ends).eval()
            self._head, self.out_activation_, self.model_ = head, head.out_activation, model
        if "random_state" in changed:
            self._random_state = check_random_state(self.random_state)
            self._orders = self._split_state = None
        self._seed_dropout()
        if changed & OF_THE_OPTIMIZER:
            self._optimizer = None
            self._watch.forget_schedule()
        self._settings = settings

    def _split(self, data: Data) -> tuple[Data, Data]:
        """Rows to train on, rows for validation: scikit-learn's of this seed; the same in later fits."""
        state = self._random_state
        if self._split_state is None:
            self._split_state = state.get_state()
        else:
            state = np.random.RandomState()
            state.set_state(self._split_state)
        rows = np.arange(len(data.X))
        train, held_out = train_test_split(
            rows, test_size=self.validation_fraction, random_state=state, stratify=self._strata(data.target)
        )
        if len(held_out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return data.of(train), data.of(held_out)

    # ---- training -------------------------------------------------------------------------------

    def _objective(self, weighted: bool, alpha: float) -> Objective:
        scale = 1 / self.n_outputs_ if self._head.scale is None else self._head.scale
        weights = [layer.weight for layer in self._linear_layers()]
        return Objective(self._head.base, weights if alpha else (), alpha, scale, weighted)

    def _make_optimizer(self) -> Optimizer:
        parameters, rate = self.model_.parameters(), float(self.learning_rate_init)
        if self.solver == "sgd":
            nesterov = bool(self.nesterovs_momentum) and self.momentum > 0
            return SGD(parameters, rate, float(self.momentum), nesterov=nesterov)
        return Adam(parameters, rate, (float(self.beta_1), float(self.beta_2)), float(self.epsilon))

    def _batch(self, rows: int) -> int:
        if isinstance(self.batch_size, str):
            return min(BATCH_SIZE, rows)
        if self.batch_size > rows:
            warnings.warn(
                f"Got `batch_size` {self.batch_size} for {rows} rows. It is going to be clipped",
                stacklevel=5,
            )
        return int(min(self.batch_size, rows))

    def _train(self, data: Data, held_out: Data | None, incremental: bool) -> None:
        rows = len(data.X)
        batch = self._batch(rows)
        if self._orders is None or (len(self._orders.order), self._orders.shuffle) != (rows, self.shuffle):
            self._orders = Orders(rows, self.shuffle, self._random_state)
        if self._optimizer is None:
            self._optimizer = self._make_optimizer()
        self._watch.begin(self, self._optimizer)
        objective = self._objective(data.weight is not None, float(self.alpha))
        runner, self.engine_, self.engine_reason_ = make_engine(
            self.engine,
            self.model_,
            objective,
            self._optimizer,
            Rows(data.X, data.packed(objective), batch, self._orders),
            self._dropout_generator,
        )
        epochs = 1 if incremental else self.max_iter
        state = FitState(self.model_, objective, self._optimizer, History(), epochs)
        self.n_iter_ = 0
        try:
            with progress_bar(self.verbose == "bar", state) as show, np.errstate(all="ignore"):
                self._run(runner, state, rows, held_out, show)
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=5)
        except DivergenceError as error:
            if not (self.early_stopping and self._watch.has_best):
                where = f"the loss became NaN or infinite at epoch {error.epoch}, step {error.step}"
                message = (
                    f"{type(self).__name__}: {where}. {NOT_FINITE} Or take a smaller learning_rate_init."
                )
                raise DivergenceError(message, error.epoch, error.step, error.history) from None
            state.stop = True
            warnings.warn(
                f"{type(self).__name__}: the loss became NaN or infinite at epoch {error.epoch}, step "
                f"{error.step}. The weights of the epoch with the best validation score are kept.",
                ConvergenceWarning,
                stacklevel=5,
            )
        finally:
            self._orders.settle()
            self.model_.eval()
            self.model_.zero_grad()
        self._watch.leave(self)
        if self.n_iter_ == epochs and not state.stop and not incremental:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({epochs}) reached and the optimization hasn't "
                "converged yet.",
                ConvergenceWarning,
                stacklevel=5,
            )

    def _run(self, runner: Any, state: FitState, rows: int, held_out: Data | None, show: Any) -> None:
        """Blocks of epochs: within one, nothing can stop the run or change it."""
        epochs = state.epochs
        judge = None if held_out is None else self._objective(held_out.weight is not None, 0.0)
        self.model_.train()
        while state.epoch < epochs and not state.stop:
            ahead = self._watch.epochs_ahead(self) if judge is None else 1
            state.epochs = int(min(epochs, state.epoch + ahead))
            run_epochs(runner, state, None, {}, (), show)
            for loss in state.history.train_loss[self.n_iter_ :]:
                self.n_iter_ += 1
                self.t_ += rows
                self.loss_ = loss
                self.loss_curve_.append(loss)
                score = None
                if judge is not None and held_out is not None:
                    output = through(self.model_.eval(), held_out.X)
                    self.validation_loss_curve_.append(float(judge(output, held_out.packed(judge))))
                    score = self._score_output(LINKS[self._head.link](output), held_out)
                    self.model_.train()
                state.stop = self._watch.after_epoch(self, state.optimizer, score)

    def _minimise(self, data: Data) -> None:
        from .lbfgs import minimise

        self.engine_, self.engine_reason_ = "numpy", "solver='lbfgs' calls SciPy's minimiser"
        objective = self._objective(data.weight is not None, float(self.alpha))
        self.n_iter_, self.loss_ = minimise(self, self.model_, objective, data.X, data.packed(objective))
        if not all(np.isfinite(p.data).all() for p in self.model_.parameters()):
            raise ValueError(f"{type(self).__name__}: {NOT_FINITE}")

    # ---- what a fit leaves ----------------------------------------------------------------------

    def _linear_layers(self) -> list[Linear]:
        if "model_" not in vars(self):
            raise AttributeError(f"{type(self).__name__} has no weights before it is fitted")
        return [module for module in self.model_ if isinstance(module, Linear)]

    @property
    def coefs_(self) -> list[Array]:
        """The weights of each layer, (fan_in, fan_out); assigned arrays are written into the layers."""
        arrays = [layer.weight.data.T for layer in self._linear_layers()]
        return LayerArrays(f"{type(self).__name__}.coefs_", arrays)

    @coefs_.setter
    def coefs_(self, values: Any) -> None:
        self.coefs_[:] = values

    @property
    def intercepts_(self) -> list[Array]:
        """The biases of each layer, (fan_out,); assigned arrays are written into the layers."""
        arrays = [layer.bias.data for layer in self._linear_layers() if layer.bias is not None]
        return LayerArrays(f"{type(self).__name__}.intercepts_", arrays)

    @intercepts_.setter
    def intercepts_(self, values: Any) -> None:
        self.intercepts_[:] = values

    def _inputs(self, X: Any) -> Array:
        check_is_fitted(self, "model_")
        check_table(type(self).__name__, "X", X)
        return _dense(validate_data(self, X, reset=False, accept_sparse=("csr", "csc"), dtype=self._dtype))

    def _output(self, X: Any) -> Array:
        """(N, M) what the network answers, linked."""
        inputs = self._inputs(X)
        return LINKS[self._head.link](through(self.model_, inputs))

    def hidden_activations(self, X: Any) -> list[Array]:
        """What each hidden layer answers, after its activation: one array (N, width) for each.

        Args:
            X: (N, D) as for `predict`.
        """
        x, answers = self._inputs(X), []
        modules = list(self.model_)
        starts = [i for i, module in enumerate(modules) if isinstance(module, Linear)]
        for start, stop in itertools.pairwise(starts):
            x = through(modules[start:stop], x)
            answers.append(x)
        return answers

    def __sklearn_is_fitted__(self) -> bool:
        return "model_" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _dtype_for(X: Any) -> type:
    """Twice the digits where they cost nothing."""
    return np.float64 if X.dtype == np.float64 and X.shape[0] <= SMALL else np.float32


def _same(a: Any, b: Any) -> bool:
    """Whether a parameter was left as it was; what cannot be compared was not."""
    try:
        return a is b or (type(a) is type(b) and bool(a == b))
    except (TypeError, ValueError):
        return False


def _dense(X: Any) -> Array:
    return np.ascontiguousarray(X.toarray() if sparse.issparse(X) else X)
