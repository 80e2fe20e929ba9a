"""metrics=["accuracy"]: the share of right decisions, however targets are written, or a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import scratchnn as snn

RNG = np.random.default_rng(0)
N, C = 60, 4
X = RNG.standard_normal((N, 3)).astype(np.float32)
LABELS = RNG.integers(0, C, N)
ONE_HOT = np.eye(C, dtype=np.float32)[LABELS]
SEVERAL = (RNG.random((N, C)) < 0.5).astype(np.float32)  # rows with no, one and several labels
BINARY = SEVERAL[:, :1]
SOFT = RNG.dirichlet(np.ones(C), N).astype(np.float32)


def largest(prediction: Any, target: Any) -> float:
    return float((prediction.argmax(1) == target.argmax(1)).mean())


def above(cut: float) -> Any:
    return lambda prediction, target: float(((prediction > cut) == (target > 0.5)).mean())


# loss, targets, and the rule by which a person would count
CODINGS: dict[str, tuple[snn.Loss, Any, Any]] = {
    "bce, one-hot": (snn.BCELoss(), ONE_HOT, largest),
    "logits, one-hot": (snn.BCEWithLogitsLoss(), ONE_HOT, largest),
    "mse, one-hot": (snn.MSELoss(), ONE_HOT, largest),
    "l1, one-hot": (snn.L1Loss(), ONE_HOT, largest),
    "huber, one-hot of two": (snn.HuberLoss(), np.eye(2)[LABELS % 2], largest),
    "mse, one of several as +1": (snn.MSELoss(), 2 * ONE_HOT - 1, largest),
    "mse, shares": (snn.MSELoss(), SOFT, largest),
    "bce, shares": (snn.BCELoss(), SOFT, largest),
    "bce, smoothed over the classes": (snn.BCELoss(), 0.8 * ONE_HOT + np.float32(0.2 / C), largest),
    "logits, smoothed one by one": (snn.BCEWithLogitsLoss(), 0.9 * ONE_HOT + np.float32(0.05), largest),
    "cross-entropy, one-hot": (snn.CrossEntropyLoss(), ONE_HOT, largest),
    "cross-entropy, shares": (snn.CrossEntropyLoss(), SOFT, largest),
    "mse, plus and minus one": (snn.MSELoss(), 2 * BINARY - 1, above(0)),
    "l1, several as plus and minus one": (snn.L1Loss(), 2 * SEVERAL - 1, above(0)),
    "logits, plus and minus one": (snn.BCEWithLogitsLoss(), 2 * BINARY - 1, above(0)),
    "bce, several": (snn.BCELoss(), SEVERAL, above(0.5)),
    "logits, several": (snn.BCEWithLogitsLoss(), SEVERAL, above(0)),
    "mse, several": (snn.MSELoss(), SEVERAL, above(0.5)),
    "bce": (snn.BCELoss(), BINARY, above(0.5)),
    "huber": (snn.HuberLoss(), BINARY, above(0.5)),
    "bce, smoothed": (snn.BCELoss(), 0.9 * BINARY + np.float32(0.05), above(0.5)),
}  # fmt: skip


def network(outputs: int, loss_fn: snn.Loss) -> snn.Module:
    snn.manual_seed(1)
    last = [snn.Sigmoid()] if isinstance(loss_fn, snn.BCELoss) else []
    return snn.Sequential(snn.Linear(3, 8), snn.Tanh(), snn.Linear(8, outputs), *last)


def accuracy(
    loss_fn: snn.Loss, data: Any, outputs: int = C, engine: str = "numpy", **how: Any
) -> snn.History:
    model = network(outputs, loss_fn)
    optimizer = snn.SGD(model.parameters(), lr=0.01)
    return snn.fit(
        model, loss_fn, optimizer, data, 1, metrics=["accuracy"], engine=engine, progress=False, **how
    )


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("name", CODINGS)
def test_as_a_person_would_count(name: str, engine: str) -> None:
    loss_fn, target, rule = CODINGS[name]
    target = np.asarray(target, np.float32)
    model = network(target.shape[1], loss_fn)
    expected, after = rule(model(X), target), model  # measured before the one step
    optimizer = snn.SGD(model.parameters(), lr=0.01)
    history = snn.fit(
        model, loss_fn, optimizer, (X, target), 1, metrics=["accuracy"], engine=engine, progress=False,
        validation=(X, target),
    )  # fmt: skip
    assert history.metrics["accuracy"] == [pytest.approx(expected, abs=1e-12)]
    assert history.metrics["val_accuracy"] == [pytest.approx(rule(after(X), target), abs=1e-12)]
    assert 0 < expected < 1


def test_the_validation_decides_too() -> None:
    """Rows of one label each are one-hot rows only where all rows of the run are such."""
    model = network(C, snn.BCELoss())
    expected = above(0.5)(model(X), ONE_HOT)
    history = accuracy(snn.BCELoss(), (X, ONE_HOT), validation=(X, SEVERAL))
    assert history.metrics["accuracy"] == [pytest.approx(expected)]


def test_many_networks() -> None:
    models = [network(C, snn.MSELoss()) for _ in range(2)]
    expected = largest(models[0](X), ONE_HOT)
    optimizers = [snn.SGD(m.parameters(), lr=0.01) for m in models]
    many = snn.fit_many(
        models, snn.MSELoss(), optimizers, X, ONE_HOT, epochs=1, metrics=["accuracy"], progress=False
    )
    assert many.results["accuracy"].tolist() == [pytest.approx(expected)] * 2


# ---- losses of one's own -------------------------------------------------------------------------


class Own(snn.Loss):
    """Squared distance of each row to the corner of its class."""

    def forward(self, prediction: Any, target: Any) -> Any:
        t = np.asarray(target)
        if t.size == len(prediction) and prediction.shape[1] > 1:
            t = np.eye(prediction.shape[1], dtype=prediction.dtype)[t.reshape(-1).astype(int)]
        self.difference = prediction - t.reshape(prediction.shape)
        return np.mean(self.difference**2, dtype=prediction.dtype)

    def backward(self, dloss: Any = 1) -> Any:
        return (2 * self.difference / self.difference.size).astype(self.difference.dtype)


@pytest.mark.parametrize(
    ("target", "outputs", "rule"),
    [
        (LABELS, C, lambda p, t: float((p.argmax(1) == LABELS).mean())),
        (LABELS[:, None], C, lambda p, t: float((p.argmax(1) == LABELS).mean())),
        (LABELS.astype(np.float32), C, lambda p, t: float((p.argmax(1) == LABELS).mean())),
        (ONE_HOT, C, largest),
        (2 * BINARY - 1, 1, above(0)),
    ],
)
def test_a_custom_loss_where_it_can_be_told(target: Any, outputs: int, rule: Any) -> None:
    expected = rule(network(outputs, Own())(X), target)
    history = accuracy(Own(), (X, target), outputs, validation=(X, target))
    assert history.metrics["accuracy"] == [pytest.approx(expected)]
    assert len(history.metrics["val_accuracy"]) == 1


@pytest.mark.parametrize(
    ("loss_fn", "target", "outputs", "word"),
    [
        (Own(), BINARY, 1, "whether 0 or 0.5 decides"),
        (Own(), SEVERAL, C, "whether 0 or 0.5 decides"),
        (Own(), X[:, [0, 1, 2, 0]], C, "targets such as"),
        (snn.MSELoss(), np.sign(X[:, :1]) * BINARY, 1, "-1, 0 and 1"),
        (snn.MSELoss(), X[:, :1], 1, "targets such as"),
        (snn.MSELoss(), LABELS[:, None].astype(np.float32), 1, "targets such as"),
        (snn.L1Loss(), 2 * ONE_HOT, C, "targets such as 2"),
    ],
)
def test_refused_where_it_cannot(loss_fn: snn.Loss, target: Any, outputs: int, word: str) -> None:
    model = network(outputs, loss_fn)
    before = snn.default_generator.get_state()
    weights = model[0].weight.data.copy()  # type: ignore[index]
    optimizer = snn.SGD(model.parameters(), lr=0.01)
    with pytest.raises(
        ValueError, match=f"'accuracy' got, with {type(loss_fn).__name__}, .*{word}.*Pass a func"
    ):
        snn.fit(model, loss_fn, optimizer, (X, target), 1, metrics=["accuracy"], progress=False)
    np.testing.assert_array_equal(model[0].weight.data, weights)  # type: ignore[index]
    np.testing.assert_array_equal(snn.default_generator.get_state(), before)


# ---- data that come batch by batch ---------------------------------------------------------------


class Batches:
    """An iterable without a length, as a reader of files is one."""

    def __init__(self, *targets: Any) -> None:
        self.targets = targets

    def __iter__(self) -> Iterator[Any]:
        for target in self.targets:
            yield X[: len(target)], target


@pytest.mark.parametrize(
    "name", ["bce, several", "mse, several", "mse, plus and minus one", "bce", "bce, shares"]
)
def test_batch_by_batch(name: str) -> None:
    loss_fn, target, rule = CODINGS[name]
    expected = rule(network(target.shape[1], loss_fn)(X), target)
    history = accuracy(loss_fn, Batches(target), target.shape[1])
    assert history.metrics["accuracy"] == [pytest.approx(expected)]


@pytest.mark.parametrize(
    ("loss_fn", "targets", "word"),
    [
        (snn.BCELoss(), [ONE_HOT], "batches of which it has not seen all"),
        (snn.MSELoss(), [np.ones((4, 1), np.float32)], "the targets ones only"),
        (snn.MSELoss(), [BINARY, 2 * BINARY - 1], "-1, 0 and 1"),
        (snn.BCELoss(), [SOFT, SEVERAL], "otherwise"),
    ],
)
def test_batches_that_do_not_tell(loss_fn: snn.Loss, targets: Any, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        accuracy(loss_fn, Batches(*targets), targets[0].shape[1])


def test_with_arrays_beside_them() -> None:
    history = accuracy(snn.BCELoss(), (X, ONE_HOT), validation=Batches(ONE_HOT))
    assert len(history.metrics["val_accuracy"]) == 1
    with pytest.raises(ValueError, match="otherwise"):
        accuracy(snn.BCELoss(), (X, ONE_HOT), validation=Batches(SEVERAL))


# ---- other metrics -------------------------------------------------------------------------------


def test_a_metric_gives_one_number() -> None:
    def each_row(prediction: Any, target: Any) -> Any:
        return (prediction > 0.5) == target

    model = network(1, snn.BCELoss())
    before = model[0].weight.data.copy()  # type: ignore[index]
    optimizer = snn.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match="from the metric each_row; it needs one number"):
        snn.fit(model, snn.BCELoss(), optimizer, (X, BINARY), 1, metrics=[each_row], progress=False)
    np.testing.assert_array_equal(before, model[0].weight.data)  # type: ignore[index]


def named(name: str) -> Any:
    def metric(prediction: Any, target: Any) -> float:
        return 0.0

    metric.__name__ = name
    return metric


@pytest.mark.parametrize(
    ("metrics", "word"),
    [
        ([lambda p, t: 0.0, lambda p, t: 1.0], "two metrics named '<lambda>'"),
        (["accuracy", "accuracy"], "two metrics named 'accuracy'"),
        (["accuracy", named("accuracy")], "two metrics named 'accuracy'"),
        ([named("train_loss")], "'train_loss'"),
        ([named("loss")], "'loss'"),
        ([named("a"), named("val_a")], "'a'|'val_a'"),
    ],
)
def test_two_of_one_name_are_refused(metrics: Any, word: str) -> None:
    model = network(1, snn.BCELoss())
    optimizer = snn.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=word):
        snn.fit(
            model, snn.BCELoss(), optimizer, (X, BINARY), 1, metrics=metrics, progress=False,
            validation=(X, BINARY),
        )  # fmt: skip
