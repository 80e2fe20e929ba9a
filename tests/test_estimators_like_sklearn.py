"""The estimators beside scikit-learn's own: the same run from the same seed, setting by setting."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import sklearn.neural_network as theirs
from sklearn.datasets import make_classification, make_multilabel_classification, make_regression
from sklearn.exceptions import ConvergenceWarning

import scratchnn as ours

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
EPOCHS = 12
# Short last batches, so that what is shared out over a batch's rows shows.
COMMON = {"random_state": 7, "max_iter": EPOCHS, "hidden_layer_sizes": (9, 6), "batch_size": 32}

SETTINGS: dict[str, dict[str, Any]] = {
    "defaults": {"batch_size": "auto"},
    "alpha": {"alpha": 3.0},
    "logistic": {"activation": "logistic"},
    "tanh": {"activation": "tanh"},
    "identity": {"activation": "identity"},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "one width": {"hidden_layer_sizes": 5},
    "adam": {"beta_1": 0.6, "beta_2": 0.9, "learning_rate_init": 0.01},
    "in order": {"shuffle": False},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.05},
    "sgd heavy ball": {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0.0, "power_t": 0.3},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "momentum": 0.0,
        "tol": 0.1,
        "n_iter_no_change": 2,
    },
    "tol": {"tol": 0.2, "n_iter_no_change": 3},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 3, "tol": 0.01},
    "a third for validation": {"early_stopping": True, "validation_fraction": 0.33},
}
PROBLEMS: dict[str, Any] = {
    "two classes": ("MLPClassifier", make_classification(150, 8, random_state=0)),
    "three classes": (
        "MLPClassifier",
        make_classification(150, 8, n_informative=5, n_classes=3, random_state=1),
    ),
    "several labels": ("MLPClassifier", make_multilabel_classification(150, 8, n_classes=4, random_state=2)),
    "numbers": ("MLPRegressor", make_regression(150, 8, random_state=3)),
}


def both(problem: str, settings: dict[str, Any], **fit: Any) -> tuple[Any, Any, Any]:
    name, (X, y) = PROBLEMS[problem]
    if problem == "numbers":
        y = y / y.std()
    X = (X - X.mean(0)) / X.std(0)
    arguments = {**COMMON, **settings}
    its = getattr(theirs, name)(**arguments).fit(X, y, **fit)
    mine = getattr(ours, name)(**arguments, dtype="float64").fit(X, y, **fit)
    return mine, its, X


def assert_same(mine: Any, its: Any, X: Any, tolerance: float = 1e-6) -> None:
    assert mine.n_iter_ == its.n_iter_
    assert mine.t_ == its.t_
    assert mine.out_activation_ == its.out_activation_
    assert (mine.n_layers_, mine.n_outputs_) == (its.n_layers_, its.n_outputs_)
    np.testing.assert_allclose(mine.loss_curve_, its.loss_curve_, rtol=tolerance)
    assert mine.loss_ == pytest.approx(its.loss_, rel=tolerance)
    for a, b in zip(mine.coefs_ + mine.intercepts_, its.coefs_ + its.intercepts_, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)
    if its.best_loss_ is None:
        np.testing.assert_allclose(mine.validation_scores_, its.validation_scores_, rtol=tolerance)
        assert mine.best_validation_score_ == pytest.approx(its.best_validation_score_, rel=tolerance)
    else:
        assert mine.best_loss_ == pytest.approx(its.best_loss_, rel=tolerance)
    assert (mine.predict(X).shape, mine.predict(X).dtype) == (its.predict(X).shape, its.predict(X).dtype)
    np.testing.assert_allclose(mine.predict(X), its.predict(X), atol=10 * tolerance)
    if hasattr(its, "predict_proba"):
        np.testing.assert_allclose(mine.predict_proba(X), its.predict_proba(X), atol=tolerance)
        np.testing.assert_array_equal(mine.classes_, its.classes_)


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_same_run(problem: str, setting: str) -> None:
    settings = SETTINGS[setting]
    # Adam's epsilon is added before the bias correction there, after it here: it must not matter.
    assert_same(
        *both(problem, {"epsilon": 1e-14, **settings} if settings.get("solver") != "sgd" else settings)
    )


@pytest.mark.parametrize("problem", PROBLEMS)
@pytest.mark.parametrize("batch", [32, 150])
def test_same_run_with_weights_of_rows(problem: str, batch: int) -> None:
    if "sample_weight" not in inspect.signature(theirs.MLPClassifier.fit).parameters:
        return  # before scikit-learn 1.7
    weight = np.random.default_rng(0).uniform(0.1, 3, 150)
    assert_same(*both(problem, {"epsilon": 1e-14, "batch_size": batch}, sample_weight=weight))


@pytest.mark.parametrize("problem", PROBLEMS)
def test_lbfgs_finds_the_same_minimum(problem: str) -> None:
    settings = {"solver": "lbfgs", "alpha": 5.0, "max_iter": 3000, "tol": 1e-7, "activation": "tanh"}
    mine, its, X = both(problem, settings)
    assert mine.loss_ == pytest.approx(its.loss_, rel=1e-5)
    predict = "predict_proba" if hasattr(its, "predict_proba") else "predict"
    np.testing.assert_allclose(getattr(mine, predict)(X), getattr(its, predict)(X), atol=2e-3)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_every_parameter_of_scikit_learns(name: str) -> None:
    mine = inspect.signature(getattr(ours, name).__init__).parameters
    its = inspect.signature(getattr(theirs, name).__init__).parameters
    assert set(its) - set(mine) == set()
    for key, parameter in its.items():
        assert mine[key].default == parameter.default, key
        assert mine[key].kind == parameter.kind or parameter.kind is parameter.POSITIONAL_OR_KEYWORD, key


def test_several_outputs_are_a_sum() -> None:
    """There the curve divides by the outputs, while the slope does not; here both are of the sum."""
    X, y = make_regression(150, 8, n_targets=3, random_state=4)
    y = y / y.std()
    settings = {**COMMON, "alpha": 0.0, "epsilon": 1e-14, "tol": 0.0}
    its = theirs.MLPRegressor(**settings).fit(X, y)
    mine = ours.MLPRegressor(**settings, dtype="float64").fit(X, y)
    np.testing.assert_allclose(np.divide(mine.loss_curve_, 3), its.loss_curve_, rtol=1e-6)
    np.testing.assert_allclose(mine.predict(X), its.predict(X), atol=1e-5)


def test_the_end_of_the_epochs_is_announced_as_there() -> None:
    X, y = PROBLEMS["two classes"][1]
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(2\)"):
        ours.MLPClassifier(max_iter=2).fit(X, y)
    with pytest.warns(UserWarning, match="batch_size"):
        ours.MLPClassifier(max_iter=2, batch_size=999).fit(X, y)
