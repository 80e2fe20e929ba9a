"""What users of scikit-learn do with a fitted estimator, before they fit it again."""

from __future__ import annotations

import copy
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.neural_network
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV

import scratchnn as snn
from scratchnn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
Z = (X - X.mean(0)) / X.std(0)


def fitted(**settings: Any) -> MLPClassifier:
    settings = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0, **settings}
    return MLPClassifier(**settings).fit(Z, y)


def weights(model: Any) -> np.ndarray[Any, Any]:
    return np.concatenate([array.ravel() for array in (*model.coefs_, *model.intercepts_)])


# Weights assigned ---------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
def test_assigned_weights_are_predicted_with(whole: bool) -> None:
    model, other = fitted(), fitted(random_state=1)
    for name in ("coefs_", "intercepts_"):
        arrays = [array.copy() for array in getattr(other, name)]
        if whole:
            setattr(model, name, arrays)
        else:
            for i, array in enumerate(arrays):
                getattr(model, name)[i] = array
    assert_array_equal(model.predict_proba(Z), other.predict_proba(Z))
    again = pickle.loads(pickle.dumps(model))
    assert_array_equal(weights(again), weights(other))


def test_weights_are_changed_in_place_and_through_slices() -> None:
    model = fitted()
    before = [array.copy() for array in model.coefs_]
    model.coefs_[0] *= 2
    model.coefs_[-1] = 3 * model.coefs_[-1]
    model.intercepts_[:] = [np.zeros(5), [0, 0, 1]]
    assert_allclose(model.coefs_[0], 2 * before[0])
    assert_allclose(model.coefs_[1], 3 * before[1])
    assert_array_equal(model.intercepts_[1], [0, 0, 1])
    assert isinstance(model.coefs_ + model.intercepts_, list)
    assert type(copy.deepcopy(model.coefs_)) is list


@pytest.mark.parametrize(
    ("assign", "error", "message"),
    [
        (lambda m: m.coefs_.__setitem__(0, np.zeros((5, 4))), ValueError, r"_\[0\] .*\(5, 4\); .*\(4, 5\)"),
        (lambda m: m.coefs_.__setitem__(0, 1.0), ValueError, r"coefs_\[0\] got an array of shape \(\)"),
        (lambda m: m.coefs_.__setitem__(2, np.zeros(1)), IndexError, "range"),
        (lambda m: setattr(m, "coefs_", m.coefs_[:1]), ValueError, "coefs_ got 1 arrays for 2 layers"),
        (lambda m: setattr(m, "intercepts_", [np.ones(5), np.ones(2)]), ValueError, r"intercepts_\[1\]"),
        (lambda m: setattr(m, "intercepts_", [np.ones(5), ["a"] * 3]), TypeError, r"_\[1\] got <U1"),
    ],
)  # fmt: skip
def test_assigned_weights_are_checked_before_any_is_written(assign: Any, error: Any, message: str) -> None:
    model = fitted()
    before = weights(model)
    with pytest.raises(error, match=message):
        assign(model)
    assert_array_equal(weights(model), before)
    with pytest.raises(AttributeError, match="no weights before it is fitted"):
        MLPClassifier().coefs_ = []


def test_a_fit_after_early_stopping_goes_on_from_assigned_weights() -> None:
    model = fitted(early_stopping=True, warm_start=True, solver="sgd", learning_rate_init=1e-12, max_iter=1)
    model.coefs_ = [np.zeros_like(c) for c in model.coefs_]
    model.set_params(early_stopping=False).fit(Z, y)
    assert np.abs(model.coefs_[0]).max() < 1e-9


# Parameters set between fits that continue -----------------------------------------------------------


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_rate_set_between_fits_is_used(solver: str, engine: str) -> None:
    model = fitted(solver=solver, warm_start=True, learning_rate_init=0.01, engine=engine)
    before = weights(model)
    model.set_params(learning_rate_init=1e-9).fit(Z, y)
    assert np.abs(weights(model) - before).max() < 1e-6
    model.set_params(learning_rate_init=0.01).fit(Z, y)
    assert np.abs(weights(model) - before).max() > 1e-3


def test_the_solver_set_between_fits_is_used() -> None:
    parts = fitted(solver="adam", warm_start=True, max_iter=2)
    start, after = pickle.loads(pickle.dumps(parts)), copy.deepcopy(parts)
    after.set_params(
        solver="sgd", momentum=0.0, learning_rate_init=0.1, shuffle=False, batch_size=150, max_iter=1
    )
    after.fit(Z, y)
    # one step of plain gradient descent from the same weights
    moved = weights(after) - weights(start)
    slope = fitted_slope(start)
    assert_allclose(moved, -0.1 * slope, atol=1e-6)


def fitted_slope(model: MLPClassifier) -> np.ndarray[Any, Any]:
    """The gradient of the mean loss with its penalty over all rows, by hand."""
    net = copy.deepcopy(model.model_).train()
    x = Z.astype(model.coefs_[0].dtype)
    loss_fn = snn.CrossEntropyLoss()
    linears = [m for m in net if isinstance(m, snn.Linear)]
    for layer in net:
        x = layer(x)
    loss_fn(x, y)
    dy = loss_fn.backward()
    for layer in reversed(list(net)):
        dy = layer.backward(dy)
    coefs = [m.weight.grad.T + model.alpha * m.weight.data.T / len(Z) for m in linears]
    return np.concatenate([a.ravel() for a in (*coefs, *[m.bias.grad for m in linears])])


@pytest.mark.parametrize("setting", [{"activation": "tanh"}, {"dropout": 0.5}, {"loss": "squared_error"}])
def test_the_network_set_between_fits_is_rebuilt_around_its_weights(setting: dict[str, Any]) -> None:
    model = fitted(warm_start=True, solver="sgd", learning_rate_init=1e-12)
    before = weights(model)
    model.set_params(**setting).fit(Z, y)
    assert np.abs(weights(model) - before).max() < 1e-6
    fresh = fitted(**setting)
    assert [type(m) for m in model.model_] == [type(m) for m in fresh.model_]
    assert model.out_activation_ == fresh.out_activation_
    fresh.coefs_, fresh.intercepts_ = list(model.coefs_), list(model.intercepts_)
    assert_array_equal(model.predict_proba(Z), fresh.predict_proba(Z))


@pytest.mark.parametrize("setting", [{"hidden_layer_sizes": (6,)}, {"dtype": "float32"}])
def test_what_needs_new_weights_is_refused(setting: dict[str, Any]) -> None:
    model = fitted(warm_start=True)  # of float64, as the rows are few
    before = weights(model)
    (name,) = setting
    model.set_params(**setting)
    with pytest.raises(ValueError, match=f"got {name}=.*warm_start=False"):
        model.fit(Z, y)
    assert_array_equal(weights(model), before)


def test_the_seed_set_between_fits_is_used() -> None:
    runs = []
    for seed in (0, 1):
        model = fitted(warm_start=True, batch_size=10)
        runs.append(weights(model.set_params(random_state=seed).fit(Z, y)))
    assert np.abs(runs[0] - runs[1]).max() > 1e-6


def test_nothing_set_between_fits_is_one_long_fit() -> None:
    for settings in ({}, {"solver": "sgd", "learning_rate": "adaptive"}, {"dropout": 0.3, "batch_size": 20}):
        whole, parts = fitted(max_iter=6, tol=0.0, **settings), fitted(warm_start=True, tol=0.0, **settings)
        parts.set_params(**settings).fit(Z, y)
        assert_array_equal(weights(whole), weights(parts))


@pytest.mark.parametrize("fit", ["fit", "partial_fit"])
def test_a_warm_start_needs_the_same_classes(fit: str) -> None:
    theirs = sklearn.neural_network.MLPClassifier((5,), max_iter=3, random_state=0, warm_start=True).fit(Z, y)
    model = fitted(warm_start=True)
    before = weights(model)
    fewer = y < 2
    for estimator in (theirs, model):
        with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
            getattr(estimator, fit)(Z[fewer], y[fewer])
    assert_array_equal(weights(model), before)
    fitted().partial_fit(Z[fewer], y[fewer])  # without warm_start a part of the classes will do


# Classes and weights --------------------------------------------------------------------------------


def test_balanced_classes_count_weights() -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, len(y))
    settings: dict[str, Any] = {
        "class_weight": "balanced",
        "shuffle": False,
        "batch_size": 10**6,
        "solver": "sgd",
    }
    for labels in (y, y == 1, (rng.random((len(y), 3)) < 0.3).astype(int)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the batch is larger than the rows
            weighted = MLPClassifier((4,), max_iter=5, random_state=0, **settings)
            weighted.fit(Z, labels, sample_weight=counts.astype(float))
            repeated = MLPClassifier((4,), max_iter=5, random_state=0, alpha=0.0, **settings)
            weighted.set_params(alpha=0.0).fit(Z, labels, sample_weight=counts.astype(float))
            repeated.fit(np.repeat(Z, counts, 0), np.repeat(labels, counts, 0))
        assert_allclose(weights(weighted), weights(repeated), atol=1e-12)


@pytest.mark.parametrize("activation", ["logistic", "tanh"])
@pytest.mark.parametrize("hidden", [(), (3,), (3, 2)])
def test_first_weights_are_scikit_learns(activation: str, hidden: tuple[int, ...]) -> None:
    settings: dict[str, Any] = {
        "solver": "sgd",
        "learning_rate_init": 1e-300,
        "max_iter": 1,
        "random_state": 3,
    }
    ours = MLPClassifier(hidden, activation, **settings).fit(X, y)
    theirs = sklearn.neural_network.MLPClassifier(hidden, activation, **settings).fit(X, y)
    assert_array_equal(weights(ours), weights(theirs))


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_predictions_of_sparse_targets_are_sparse(kind: Any) -> None:
    X, Y = make_multilabel_classification(n_samples=40, random_state=0)
    ours = MLPClassifier((4,), max_iter=3, random_state=0).fit(X, kind(Y)).predict(X)
    theirs = sklearn.neural_network.MLPClassifier((4,), max_iter=3, random_state=0).fit(X, kind(Y)).predict(X)
    assert type(ours) is type(theirs)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype


# Fits that fail -------------------------------------------------------------------------------------

LARGE = 1e200 * np.random.default_rng(0).random((10, 2))


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_fit_that_diverges_leaves_the_estimator_as_it_was(solver: str) -> None:
    target = np.arange(10.0)
    model = MLPRegressor(hidden_layer_sizes=(3,), solver=solver, random_state=0, max_iter=50)
    with pytest.raises(ValueError, match=r"MLPRegressor: .*Solver produced non-finite parameter weights"):
        model.fit(LARGE, target)
    with pytest.raises(NotFittedError):
        model.predict(LARGE)
    assert vars(model) == vars(
        MLPRegressor(hidden_layer_sizes=(3,), solver=solver, random_state=0, max_iter=50)
    )
    model.fit(Z, y)
    before = weights(model)
    with pytest.raises(ValueError, match="non-finite"):
        model.fit(LARGE, target)
    assert_array_equal(weights(model), before)
    assert_allclose(model.predict(Z[:3]), model.predict(Z[:3]))


def test_data_that_are_refused_leave_the_estimator_as_it_was() -> None:
    model = MLPClassifier(early_stopping=True)
    with pytest.raises(ValueError, match="least populated classes"):
        model.fit([[1, 2], [2, 3], [3, 4], [4, 5]], [0, 0, 0, 1])
    assert vars(model) == vars(MLPClassifier(early_stopping=True))


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_early_stopping_keeps_the_best_weights_of_a_fit_that_diverges(engine: str) -> None:
    settings: dict[str, Any] = {
        "hidden_layer_sizes": (100,), "activation": "identity", "solver": "sgd", "learning_rate_init": 1,
        "max_iter": 20, "early_stopping": True, "random_state": 0,
    }  # fmt: skip
    model = MLPRegressor(engine=engine, **settings)
    with pytest.warns(ConvergenceWarning, match="best validation score are kept"):
        model.fit(X, y)
    assert np.isfinite(weights(model)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        theirs = sklearn.neural_network.MLPRegressor(**settings).fit(X, y)
    assert_allclose(weights(model), weights(theirs), rtol=1e-6, atol=1e-9)


def test_a_divergence_is_told_across_processes() -> None:
    with pytest.raises(snn.DivergenceError) as caught:
        MLPRegressor(hidden_layer_sizes=(3,), random_state=0).fit(LARGE, np.arange(10.0))
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.epoch, again.step) == (str(caught.value), caught.value.epoch, caught.value.step)
    assert isinstance(again, ValueError)
    assert isinstance(again, FloatingPointError)
    search = GridSearchCV(
        MLPRegressor(hidden_layer_sizes=(3,), max_iter=2),
        {"alpha": [0.1]},
        cv=2,
        n_jobs=2,
        error_score="raise",
    )
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        search.fit(LARGE, np.arange(10.0))


# Files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"solver": "lbfgs"}, {"dropout": 0.2}, {"early_stopping": True}])
def test_the_state_of_a_fitted_estimator_is_plain(settings: dict[str, Any]) -> None:
    """No dict has an object for a key: such a state can be written as JSON and arrays, as skops does."""

    def walk(thing: Any) -> None:
        if id(thing) in seen:
            return
        seen[id(thing)] = thing
        if isinstance(thing, dict):
            assert all(isinstance(key, (str, int)) for key in thing), thing.keys()
            for value in thing.values():
                walk(value)
        elif isinstance(thing, (list, tuple)):
            for value in thing:
                walk(value)
        elif type(thing).__module__.startswith("scratchnn"):
            walk(thing.__getstate__())

    seen: dict[int, Any] = {}
    walk(fitted(**settings))
    assert len(seen) > 20


def test_skops_takes_a_fitted_estimator() -> None:
    model = fitted(dropout=0.1, warm_start=True)
    data = skops.io.dumps(model)
    again = skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
    assert_array_equal(again.predict_proba(Z), model.predict_proba(Z))
    assert_array_equal(weights(again.fit(Z, y)), weights(model.fit(Z, y)))
