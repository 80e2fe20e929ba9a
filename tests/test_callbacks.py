"""EarlyStopping and ModelCheckpoint, by themselves and in fit on both engines."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scratchnn as snn
from scratchnn.train import FitState

ENGINES = ("numpy", "numba")


def state_of(values: list[float], name: str = "val_loss") -> FitState:
    """A run whose measure took these values, ready for its epochs."""
    model = snn.Sequential(snn.Linear(1, 1))
    history = snn.History()
    history.train_loss = [0.0] * len(values)
    return FitState(
        model, snn.MSELoss(), snn.SGD(model.parameters(), lr=0.1), history, epochs=len(values) + 1
    )


def show(callback: Any, values: list[float], name: str = "val_loss") -> FitState:
    """The callback, after each epoch until it stops; the model's bias is the epoch's number."""
    state = state_of(values)
    seen = state.history.val_loss if name == "val_loss" else state.history.metrics.setdefault(name, [])
    for epoch, value in enumerate(values, 1):
        seen.append(value)
        state.epoch = epoch
        state.model[0].bias.data[:] = epoch  # type: ignore[index]
        callback(state)
        if state.stop:
            break
    if hasattr(callback, "finish"):
        callback.finish(state)
    return state


def bias(state: FitState) -> float:
    return float(state.model[0].bias.data[0])  # type: ignore[index]


@given(
    st.lists(st.floats(-3, 3) | st.just(math.nan), min_size=1, max_size=30),
    st.integers(1, 5),
    st.floats(0, 1),
    st.sampled_from(["min", "max"]),
)
def test_stops_when_it_should(values: list[float], patience: int, min_delta: float, mode: str) -> None:
    """Against the definition: the first epoch that ends `patience` of them in a row without improvement."""
    best, best_epoch, expected = (math.inf if mode == "min" else -math.inf), 0, 0
    for epoch, value in enumerate(values, 1):
        if (best - value if mode == "min" else value - best) > min_delta:
            best, best_epoch = value, epoch
        elif epoch - best_epoch >= patience:
            expected = epoch
            break
    stopping = snn.EarlyStopping("score", patience, min_delta, mode)
    state = show(stopping, values, "score")
    assert (stopping.stopped_epoch, stopping.best_epoch, stopping.best) == (expected, best_epoch, best)
    assert state.stop == bool(expected)
    assert bias(state) == (best_epoch or state.epoch)  # the parameters of the best epoch


def test_parameters_stay_where_they_are_if_asked() -> None:
    state = show(snn.EarlyStopping(patience=2, restore_best=False), [1.0, 2.0, 3.0, 4.0])
    assert (state.epoch, bias(state)) == (3, 3)


def test_which_way_is_better() -> None:
    assert snn.EarlyStopping("val_accuracy").mode == "max"
    assert snn.EarlyStopping("val_loss").mode == snn.EarlyStopping().mode == "min"
    with pytest.raises(ValueError, match="say with mode='min' or 'max'"):
        snn.EarlyStopping("f1")
    with pytest.raises(ValueError, match="mode='down'"):
        snn.EarlyStopping(mode="down")
    with pytest.raises(ValueError, match="min_delta=-1"):
        snn.EarlyStopping(min_delta=-1)
    with pytest.raises(ValueError, match="patience"):
        snn.EarlyStopping(patience=0)
    with pytest.raises(ValueError, match=r"EarlyStopping monitors 'val_accuracy', .*; it has train_loss"):
        show(snn.EarlyStopping("val_accuracy"), [1.0])


def train(engine: str, epochs: int, *callbacks: Any, seed: int = 0) -> tuple[Any, snn.History, Any]:
    snn.manual_seed(seed)
    rng = np.random.default_rng(1)
    X = rng.standard_normal((60, 4)).astype(np.float32)
    y = (X[:, :1] + rng.standard_normal((60, 1)) > 0).astype(np.float32)  # noise to learn by heart
    model = snn.Sequential(snn.Linear(4, 20), snn.Tanh(), snn.Linear(20, 1))
    optimizer = snn.Adam(model.parameters(), lr=0.03)
    loader = snn.DataLoader(snn.TensorDataset(X[:40], y[:40]), batch_size=8, shuffle=True)
    history = snn.fit(
        model, snn.BCEWithLogitsLoss(), optimizer, loader, epochs, engine=engine, progress=False,
        validation=(X[40:], y[40:]), metrics=["accuracy"], callbacks=callbacks,
    )  # fmt: skip
    return model, history, (X[40:], y[40:])


@pytest.mark.parametrize("engine", ENGINES)
def test_in_fit(engine: str) -> None:
    stopping = snn.EarlyStopping(patience=5)
    model, history, (X, y) = train(engine, 500, stopping)
    assert history.epochs == stopping.stopped_epoch == stopping.best_epoch + 5 < 500
    assert stopping.best == min(history.val_loss)
    loss = snn.BCEWithLogitsLoss()(model.eval()(X), y)
    assert float(loss) == stopping.best
    # the run up to there is the one without it
    _, free, _ = train(engine, history.epochs)
    np.testing.assert_array_equal(free.step_losses, history.step_losses)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_best_model_is_on_disk(engine: str, tmp_path: Path) -> None:
    best = snn.ModelCheckpoint(tmp_path / "best.safetensors", monitor="val_accuracy")
    every = snn.ModelCheckpoint(tmp_path / "{epoch}.safetensors", save_best_only=False)
    _, history, (X, y) = train(engine, 12, best, every)
    scores = history.metrics["val_accuracy"]
    assert best.best == max(scores)
    assert best.best_epoch == 1 + scores.index(max(scores))
    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == sorted([f"{epoch}.safetensors" for epoch in range(1, 13)] + ["best.safetensors"])
    assert every.best_path == str(tmp_path / f"{every.best_epoch}.safetensors")
    saved = snn.load(tmp_path / "best.safetensors").eval()
    assert np.mean((saved(X) > 0) == y) == pytest.approx(best.best)
    for a, b in zip(
        saved.parameters(), snn.load(tmp_path / f"{best.best_epoch}.safetensors").parameters(), strict=True
    ):
        np.testing.assert_array_equal(a.data, b.data)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_best_is_restored_when_the_epochs_run_out(engine: str) -> None:
    stopping = snn.EarlyStopping(patience=100)
    model, history, (X, y) = train(engine, 60, stopping)
    assert history.epochs == 60 > stopping.best_epoch
    assert float(snn.BCEWithLogitsLoss()(model.eval()(X), y)) == stopping.best == min(history.val_loss)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        train("numpy", 1, snn.ModelCheckpoint(tmp_path / "none" / "best.safetensors"))


@pytest.mark.parametrize("kind", [snn.EarlyStopping, lambda: snn.ModelCheckpoint("nowhere")])
def test_state_goes_on_where_it_was(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scratchnn.files.save", lambda model, path: None)
    whole, first, second = kind(), kind(), kind()
    values = [3.0, 1.0, 2.0, 2.0, 0.5, 2.0]
    show(whole, values)
    show(first, values[:3])
    second.load_state_dict(first.state_dict())
    state = state_of(values)
    state.history.val_loss = values[:3]
    for epoch, value in enumerate(values[3:], 4):
        state.history.val_loss.append(value)
        state.epoch = epoch
        state.model[0].bias.data[:] = epoch  # type: ignore[index]
        second(state)
    kept, expected = second.state_dict(), whole.state_dict()
    assert expected["best_epoch"] == 5
    if "best_state" in kept:
        assert kept.pop("best_state")["0.bias"] == expected.pop("best_state")["0.bias"] == 5
    assert kept == expected
