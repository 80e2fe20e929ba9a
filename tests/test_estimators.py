"""The estimators in scikit-learn's hands, and what they add to its MLP."""

from __future__ import annotations

import copy
import functools
import io
import pickle
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris, make_classification, make_regression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import scratchnn as snn
from scratchnn.engine.plan import LoweringError

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = make_classification(160, 6, n_informative=4, n_classes=3, random_state=0)
BINARY = (Y > 0).astype(int)
XR, YR = make_regression(160, 6, noise=1, random_state=0)
YR = YR / YR.std()
engines = pytest.mark.parametrize("engine", ["numpy", "numba"])


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([snn.MLPClassifier(), snn.MLPRegressor()])
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def weights(estimator: Any) -> np.ndarray:
    return np.concatenate([a.ravel() for a in (*estimator.coefs_, *estimator.intercepts_)])


# ---- going on exactly ---------------------------------------------------------------------------

RUNS: dict[str, dict[str, Any]] = {
    "adam": {},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.01},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5},
    "dropout": {"dropout": 0.3},
    "schedule": {"learning_rate": functools.partial(snn.ExponentialLR, gamma=0.8)},
    "float32": {"dtype": "float32"},
}


@engines
@pytest.mark.parametrize("run", RUNS)
def test_warm_start_and_partial_fit_go_on_exactly(run: str, engine: str) -> None:
    make = functools.partial(
        snn.MLPClassifier, (8,), batch_size=48, random_state=3, tol=0.0, engine=engine, **RUNS[run]
    )
    whole = make(max_iter=7).fit(X, Y)
    warm = make(max_iter=3, warm_start=True).fit(X, Y).set_params(max_iter=4)
    np.random.default_rng(0).random()  # nobody else's numbers matter
    snn.manual_seed(9)
    warm = pickle.loads(pickle.dumps(warm)).fit(X, Y)
    steps = make()
    for _ in range(7):
        steps.partial_fit(X, Y, classes=[0, 1, 2])
    for other in (warm, steps):
        np.testing.assert_array_equal(weights(other), weights(whole))
        assert other.loss_curve_ == whole.loss_curve_
        assert other.t_ == whole.t_
    assert (warm.n_iter_, steps.n_iter_) == (4, 1)


def test_early_stopping_goes_on_exactly() -> None:
    make = functools.partial(snn.MLPClassifier, (8,), early_stopping=True, random_state=3, warm_start=True)
    whole, parts = make(max_iter=9).fit(X, Y), make(max_iter=4).fit(X, Y)
    parts.set_params(max_iter=5).fit(X, Y)
    assert parts.validation_scores_ == whole.validation_scores_
    assert parts.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(weights(parts), weights(whole))


def test_a_fit_starts_anew_without_warm_start() -> None:
    model = snn.MLPClassifier((8,), max_iter=5, random_state=3).fit(X, Y)
    first = weights(model)
    assert np.array_equal(weights(model.fit(X, Y)), first)
    assert len(model.loss_curve_) == 5


@pytest.mark.parametrize("settings", [*RUNS.values(), {"early_stopping": True}, {"alpha": 2.0}])
def test_both_engines_train_alike(settings: dict[str, Any]) -> None:
    make = functools.partial(
        snn.MLPRegressor, hidden_layer_sizes=(8, 5), max_iter=9, random_state=1, **settings
    )
    a, b = (make(engine=engine).fit(XR, YR) for engine in ("numpy", "numba"))
    assert (a.engine_, b.engine_) == ("numpy", "numba")
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-5 if "dtype" in settings else 1e-12)


def test_training_draws_nothing_from_the_default_generator() -> None:
    for settings in RUNS.values():
        for engine in ("numpy", "numba"):
            before = snn.default_generator.get_state()
            snn.MLPClassifier((8,), max_iter=2, engine=engine, **settings).fit(X, Y)
            np.testing.assert_array_equal(snn.default_generator.get_state(), before)


# ---- what rows count ----------------------------------------------------------------------------


@engines
def test_weight_zero_is_no_row_in_batches_too(engine: str) -> None:
    keep = np.random.default_rng(1).random(160) < 0.7
    make = functools.partial(
        snn.MLPClassifier, (8,), batch_size=20, max_iter=5, random_state=2, engine=engine
    )
    a, b = make().fit(X, Y, keep.astype(float)), make().fit(X[keep], Y[keep])
    np.testing.assert_allclose(weights(a), weights(b), rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", ["log_loss", "bce", "squared_error", "l1", "huber"])
def test_class_weight_is_sample_weight(loss: str) -> None:
    make = functools.partial(snn.MLPClassifier, (8,), max_iter=5, random_state=2, loss=loss)
    by_class = make(class_weight={0: 3.0, 1: 0.5, 2: 1.0}).fit(X, Y)
    by_row = make().fit(X, Y, np.array([3.0, 0.5, 1.0])[Y])
    assert by_class.engine_ == by_row.engine_ == "numba"
    np.testing.assert_array_equal(weights(by_class), weights(by_row))
    assert not np.array_equal(weights(by_class), weights(make().fit(X, Y)))
    row = np.random.default_rng(0).uniform(0.5, 2, 160)
    by_both = make(class_weight={0: 3.0, 1: 0.5, 2: 1.0}).fit(X, Y, row)
    np.testing.assert_array_equal(
        weights(by_both), weights(make().fit(X, Y, row * np.array([3.0, 0.5, 1.0])[Y]))
    )


def test_balanced_weights_find_the_rare_class() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [285, 15])
    x = rng.standard_normal((300, 2)) + 1.2 * y[:, None]
    make = functools.partial(snn.MLPClassifier, (8,), max_iter=200, learning_rate_init=0.01, random_state=0)
    recall = [(make(class_weight=w).fit(x, y).predict(x[y == 1]) == 1).mean() for w in (None, "balanced")]
    assert recall[0] < 0.5 < 0.7 < recall[1]


# ---- losses, layers -----------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["log_loss", "bce", "squared_error", "huber", "l1", snn.NLLLoss()])
def test_losses_of_the_classifier(loss: Any) -> None:
    model = snn.MLPClassifier((16,), loss=loss, max_iter=150, learning_rate_init=0.01, random_state=0)
    model.fit(*load_iris(return_X_y=True))
    assert model.score(*load_iris(return_X_y=True)) > 0.93
    np.testing.assert_allclose(model.predict_proba(X[:5, :4]).sum(1), 1, rtol=1e-12)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "l1", snn.HuberLoss(delta=0.3)])
def test_losses_of_the_regressor(loss: Any) -> None:
    model = snn.MLPRegressor(loss, (16,), max_iter=200, learning_rate_init=0.01, random_state=0).fit(XR, YR)
    assert model.engine_ == "numba"
    assert model.score(XR, YR) > 0.95


def test_huber_shrugs_at_outliers() -> None:
    y = YR.copy()
    y[::10] += 30
    make = functools.partial(
        snn.MLPRegressor, max_iter=300, learning_rate_init=0.01, random_state=0, alpha=3.0
    )
    clean = np.delete(np.arange(160), np.s_[::10])
    square, huber = (
        make(loss, (8,)).fit(XR, y).score(XR[clean], YR[clean]) for loss in ("squared_error", "huber")
    )
    assert huber > 0.9 > square


def test_bce_predicts_probabilities() -> None:
    y = 1 / (1 + np.exp(-YR))
    model = snn.MLPRegressor("bce", (8,), max_iter=300, learning_rate_init=0.01, random_state=0).fit(XR, y)
    assert model.predict(XR * 100).min() >= 0
    assert model.predict(XR * 100).max() <= 1
    assert model.score(XR, y) > 0.9


def test_a_loss_object_is_the_mean_it_says() -> None:
    y = np.column_stack([YR, -YR])
    same = {"max_iter": 4, "random_state": 0, "alpha": 0.0, "solver": "sgd"}
    by_object = snn.MLPRegressor(snn.MSELoss(), (8,), **same).fit(XR, y)
    by_name = snn.MLPRegressor("squared_error", (8,), **same).fit(XR, y)
    np.testing.assert_allclose(by_object.loss_curve_, by_name.loss_curve_, rtol=1e-12)  # 1/2 over 2 outputs


class Cubic(snn.MSELoss):
    """A loss that the engine has no words for."""


def test_a_loss_of_ones_own_trains_with_numpy() -> None:
    model = snn.MLPRegressor(Cubic(), (8,), max_iter=3, random_state=0).fit(XR, YR)
    assert model.engine_ == "numpy"
    assert "Cubic" in model.engine_reason_
    with pytest.raises(LoweringError, match="Cubic"):
        model.set_params(engine="numba").fit(XR, YR)


def test_each_layer_has_its_own_activation_and_dropout() -> None:
    model = snn.MLPClassifier(
        (7, 5, 4), ["tanh", "leaky_relu", functools.partial(snn.LeakyReLU, 0.3)], dropout=[0, 0.2, 0]
    )
    model.set_params(max_iter=2, random_state=0).fit(X, Y)
    kinds = [type(module).__name__ for module in model.model_]
    assert kinds == ["Linear", "Tanh", "Linear", "LeakyReLU", "Dropout", "Linear", "LeakyReLU", "Linear"]
    assert model.engine_ == "numba"


def test_hidden_activations_lead_to_the_probabilities() -> None:
    model = snn.MLPClassifier((7, 5), ["tanh", "logistic"], max_iter=4, dropout=0.5, random_state=0).fit(X, Y)
    first, second = model.hidden_activations(X)
    np.testing.assert_allclose(first, np.tanh(X @ model.coefs_[0] + model.intercepts_[0]), rtol=1e-12)
    logits = second @ model.coefs_[2] + model.intercepts_[2]
    powers = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(model.predict_proba(X), powers / powers.sum(1, keepdims=True), rtol=1e-10)
    assert snn.MLPClassifier((), max_iter=2).fit(X, Y).hidden_activations(X) == []


def test_coefs_are_the_network() -> None:
    model = snn.MLPRegressor(hidden_layer_sizes=(4,), max_iter=2).fit(XR, YR)
    model.coefs_[1][:] = 0
    model.intercepts_[1][:] = 5
    np.testing.assert_array_equal(model.predict(XR), 5)


# ---- a validation set of the user's -------------------------------------------------------------


def test_a_validation_set_of_ones_own() -> None:
    make = functools.partial(snn.MLPClassifier, (8,), random_state=0, max_iter=30)
    plain = make().fit(X[:120], Y[:120])
    watched = make().fit(X[:120], Y[:120], X_val=X[120:], y_val=Y[120:])
    np.testing.assert_array_equal(weights(watched), weights(plain))  # looking changes nothing
    assert len(watched.validation_loss_curve_) == len(watched.validation_scores_) == watched.n_iter_
    loss = -np.log(watched.predict_proba(X[120:])[np.arange(40), Y[120:]]).mean()
    assert watched.validation_loss_curve_[-1] == pytest.approx(loss, rel=1e-12)
    assert watched.validation_scores_[-1] == watched.score(X[120:], Y[120:])
    assert plain.validation_loss_curve_ == []

    stopped = make(early_stopping=True, max_iter=300, n_iter_no_change=5)
    stopped.fit(X[:120], Y[:120], X_val=X[120:], y_val=Y[120:])
    assert stopped.n_iter_ < 300
    assert stopped.t_ == 120 * stopped.n_iter_  # nothing is split off
    assert (
        stopped.best_validation_score_ == max(stopped.validation_scores_) == stopped.score(X[120:], Y[120:])
    )


def test_the_validation_set_in_a_search() -> None:
    search = GridSearchCV(snn.MLPClassifier((4,), max_iter=3, random_state=0), {"alpha": [0.1, 1]}, cv=2)
    search.fit(X[:130], Y[:130], X_val=X[130:], y_val=Y[130:])
    assert len(search.best_estimator_.validation_loss_curve_) == 3


# ---- schedules, progress ------------------------------------------------------------------------


def test_schedules_are_stepped_once_an_epoch() -> None:
    rates = []

    def schedule(optimizer: Any) -> Any:
        return snn.LambdaLR(optimizer, lambda epoch: rates.append(epoch) or 0.5**epoch)

    model = snn.MLPClassifier((4,), learning_rate=schedule, max_iter=4, tol=0.0).fit(X, Y)
    assert rates == [0, 1, 2, 3, 4]
    assert model._optimizer.param_groups[0]["lr"] == 0.001 / 16
    plateau = functools.partial(snn.ReduceLROnPlateau, patience=0, threshold=10.0, factor=0.1)
    model = snn.MLPClassifier((4,), learning_rate=plateau, max_iter=5, tol=0.0).fit(X, Y)
    assert model._optimizer.param_groups[0]["lr"] < 0.001


def test_progress(capsys: Any) -> None:
    snn.MLPClassifier((4,), max_iter=3, verbose=True, early_stopping=True, random_state=0).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines[::2]] == ["Iteration 1", "Iteration 2", "Iteration 3"]
    assert all(line.startswith("Validation score: ") for line in lines[1::2])
    snn.MLPClassifier((4,), max_iter=3, verbose="bar").fit(X, Y)
    assert capsys.readouterr().out == ""


# ---- in the ecosystem ---------------------------------------------------------------------------


def test_pipeline_frames_and_names() -> None:
    frame = pd.DataFrame(X, columns=[f"feature {i}" for i in range(6)])
    labels = pd.Series(np.array(["left", "middle", "right"])[Y])
    pipe = make_pipeline(StandardScaler(), snn.MLPClassifier((8,), learning_rate_init=0.01, random_state=0))
    pipe.set_output(transform="pandas").fit(frame, labels)
    assert list(pipe[-1].feature_names_in_) == list(frame.columns)
    assert set(pipe.predict(frame)) == {"left", "middle", "right"}
    assert pipe.score(frame, labels) > 0.6
    with pytest.raises(ValueError, match="feature names"):
        pipe[-1].predict(frame.rename(columns={"feature 0": "another"}))


def test_search_over_processes_gives_the_same_as_in_one() -> None:
    grid = {"hidden_layer_sizes": [(4,), (8, 4)], "alpha": [1e-4, 1.0]}
    model = snn.MLPClassifier(max_iter=10, random_state=0)
    scores = []
    for n_jobs in (1, 2):
        search = GridSearchCV(model, grid, cv=3, n_jobs=n_jobs, error_score="raise").fit(X, Y)
        scores.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*scores)
    assert cross_val_score(model, X, Y, cv=3, error_score="raise").shape == (3,)


def test_clone_copy_pickle_joblib() -> None:
    model = snn.MLPClassifier((8,), loss=snn.NLLLoss(), dropout=0.2, max_iter=3, random_state=0).fit(X, Y)
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), joblib.load(file)):
        np.testing.assert_array_equal(other.predict_proba(X), model.predict_proba(X))
    fresh = clone(model)
    assert not hasattr(fresh, "coefs_")
    np.testing.assert_array_equal(weights(fresh.fit(X, Y)), weights(model))


def test_sparse_inputs_are_taken() -> None:
    make = functools.partial(snn.MLPClassifier, (8,), max_iter=3, random_state=0)
    a, b = make().fit(X, Y), make().fit(sparse.csr_array(X), Y)
    np.testing.assert_array_equal(a.predict_proba(X), b.predict_proba(sparse.csc_matrix(X)))


def test_dtypes() -> None:
    few, many = X, np.tile(X, (4, 1))
    for x, dtype, expected in [
        (few, "auto", np.float64),
        (few.astype(np.float32), "auto", np.float32),
        (many, "auto", np.float32),
        (many, "float64", np.float64),
        (few, np.float32, np.float32),
    ]:
        model = snn.MLPClassifier((4,), dtype=dtype, max_iter=2).fit(x, np.resize(Y, len(x)))
        assert {a.dtype for a in (*model.coefs_, *model.intercepts_)} == {np.dtype(expected)}
        assert model.predict_proba(x).dtype == expected


def test_one_class_and_one_label_column() -> None:
    model = snn.MLPClassifier((4,), max_iter=2).fit(X, np.full(160, "only"))
    assert set(model.predict(X)) == {"only"}
    np.testing.assert_array_equal(model.predict_proba(X), np.ones((160, 1)))


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"solver": "rmsprop"}, "'adam', 'sgd', 'lbfgs'"),
        ({"activation": "swish"}, "'relu'"),
        ({"activation": ["relu"] * 3}, "1 hidden layers"),
        ({"loss": "hinge"}, "'log_loss'"),
        ({"loss": snn.CrossEntropyLoss(reduction="sum")}, "'mean'"),
        ({"loss": snn.CrossEntropyLoss([1.0, 2.0, 3.0])}, "class_weight"),
        ({"alpha": -1}, "at least 0"),
        ({"batch_size": 0}, "from 1"),
        ({"hidden_layer_sizes": (4, 0)}, "must be > 0"),
        ({"dropout": 1.0}, r"in \[0, 1\)"),
        ({"dropout": [0.1, 0.2]}, "1 hidden layers"),
        ({"learning_rate": "cyclic"}, "'adaptive'"),
        ({"learning_rate_init": float("nan")}, "positive"),
        ({"max_iter": 2.5}, "from 1"),
        ({"dtype": "float16"}, "'float32'"),
        ({"engine": "torch"}, "'numba'"),
        ({"solver": "lbfgs", "dropout": 0.1}, "use solver='adam'"),
        ({"validation_fraction": 0.005, "early_stopping": True}, "too small"),
    ],
)
def test_wrong_parameters_are_named(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        snn.MLPClassifier((4,), max_iter=2).set_params(**settings).fit(X, Y)


def test_wrong_data_are_named() -> None:
    model = snn.MLPClassifier((4,), max_iter=2)
    with pytest.raises(ValueError, match="both, or neither"):
        model.fit(X, Y, X_val=X)
    with pytest.raises(ValueError, match="negative, or all zero"):
        model.fit(X, Y, -np.ones(160))
    with pytest.raises(ValueError, match="too large for dtype"):
        snn.MLPRegressor(max_iter=2, dtype="float32").fit(XR * 1e60, YR)
    with pytest.raises(ValueError, match="y contains infinity"):
        snn.MLPRegressor(max_iter=2, dtype="float32").fit(XR, YR * 1e60)
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        snn.MLPRegressor("bce", max_iter=2).fit(XR, YR)
    with pytest.raises(ValueError, match="use MLPClassifier"):
        snn.MLPRegressor(snn.CrossEntropyLoss(), max_iter=2).fit(XR, YR)
    with pytest.raises(ValueError, match=r"not in `self\.classes_`"):
        model.fit(X, Y, X_val=X, y_val=Y + 1)
    with pytest.raises(ValueError, match="balanced"):
        snn.MLPClassifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="does not support early_stopping"):
        snn.MLPClassifier(early_stopping=True).partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(AttributeError, match="partial_fit"):
        snn.MLPClassifier(solver="lbfgs").partial_fit(X, Y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="yes or no"):
        snn.MLPClassifier(loss=snn.CrossEntropyLoss(), max_iter=2).fit(X, BINARY)


def test_a_run_that_diverges_says_so() -> None:
    with pytest.raises(snn.DivergenceError, match=r"at epoch .* smaller learning_rate_init"):
        snn.MLPRegressor(solver="sgd", learning_rate_init=1e6, max_iter=200).fit(XR, YR)
