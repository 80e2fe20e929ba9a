"""EarlyStopping and ModelCheckpoint, by themselves and in fit on both engines."""

from __future__ import annotations

import copy
import math
import os
import pickle
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


# ---- one object, several runs --------------------------------------------------------------------


def stopping_of(seed: int, engine: str, stopping: snn.EarlyStopping) -> tuple[Any, snn.History]:
    model, history, _ = train(engine, 60, stopping, seed=seed)
    return [p.data.copy() for p in model.parameters()], history


@pytest.mark.parametrize("engine", ENGINES)
def test_each_run_begins_fresh(engine: str) -> None:
    shared = snn.EarlyStopping(patience=4)
    for seed in (0, 1, 2):
        own = snn.EarlyStopping(patience=4)
        expected, history = stopping_of(seed, engine, own)
        got, again = stopping_of(seed, engine, shared)
        assert again.val_loss == history.val_loss
        assert {**vars(own), "_run": 0, "best_state": 0} == {**vars(shared), "_run": 0, "best_state": 0}
        for a, b in zip(expected, got, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_run_of_no_epochs_puts_no_other_runs_weights_back() -> None:
    stopping = snn.EarlyStopping()
    stopping_of(0, "numpy", stopping)
    snn.manual_seed(5)
    model = snn.Sequential(snn.Linear(4, 20), snn.Tanh(), snn.Linear(20, 1))
    before = copy.deepcopy(model.state_dict())
    optimizer = snn.SGD(model.parameters(), lr=0.1)
    X = np.zeros((4, 4), np.float32)
    snn.fit(model, snn.MSELoss(), optimizer, (X, X[:, :1]), 0, callbacks=[stopping], progress=False)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    assert (stopping.best_epoch, stopping.best, stopping.best_state) == (0, math.inf, None)


def test_inside_a_callback_of_ones_own_too() -> None:
    """Nobody tells it there that a run begins; the run's history does."""

    class Wrapped:
        def __init__(self) -> None:
            self.stopping = snn.EarlyStopping(patience=4)

        def __call__(self, state: FitState) -> None:
            self.stopping(state)

    wrapped = Wrapped()
    for seed in (0, 1):
        own = snn.EarlyStopping(patience=4)
        stopping_of(seed, "numpy", own)
        train("numpy", 60, wrapped, seed=seed)
        assert (wrapped.stopping.best_epoch, wrapped.stopping.best) == (own.best_epoch, own.best)


def test_a_model_checkpoint_writes_in_each_run(tmp_path: Path) -> None:
    best = snn.ModelCheckpoint(tmp_path / "best.safetensors")
    train("numpy", 12, best)
    first = best.best
    (tmp_path / "best.safetensors").unlink()
    _, history, _ = train("numpy", 2, best)
    assert (tmp_path / "best.safetensors").exists()
    assert best.best == min(history.val_loss) > first


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_a_copy_of_a_used_one_begins_fresh(again: Any) -> None:
    stopping = snn.EarlyStopping(patience=4)
    stopping_of(0, "numpy", stopping)
    twin, own = again(stopping), snn.EarlyStopping(patience=4)
    _, history = stopping_of(1, "numpy", own)
    assert stopping_of(1, "numpy", twin)[1].val_loss == history.val_loss
    assert twin.best_epoch == own.best_epoch


def test_what_was_loaded_goes_on_once() -> None:
    values = [3.0, 1.0, 2.0, 2.0]
    used = snn.EarlyStopping(patience=3)
    show(used, values)
    loaded = snn.EarlyStopping(patience=3)
    loaded.load_state_dict(used.state_dict())
    assert show(loaded, [2.0, 2.0]).stop  # two bad epochs before, and one now
    assert not show(loaded, [2.0, 2.0]).stop


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"best": "low"}, TypeError, "best='low'"),
        ({"best_epoch": -1}, ValueError, "best_epoch"),
        ({"bad_epochs": 1.5}, TypeError, "bad_epochs"),
        ({"stopped_epoch": None}, TypeError, "stopped_epoch"),
        ({"best_state": [1.0]}, TypeError, "best_state"),
        (None, ValueError, "state_dict without best"),
    ],
)
def test_a_state_that_is_none_loads_nothing(change: Any, error: type, word: str) -> None:
    stopping = snn.EarlyStopping()
    show(stopping, [3.0, 1.0])
    kept = stopping.state_dict() | change if change else {}
    before = {name: value for name, value in vars(stopping).items() if name != "best_state"}
    with pytest.raises(error, match=f"EarlyStopping got .*{word}"):
        stopping.load_state_dict(kept)
    assert before.items() <= vars(stopping).items()


def test_a_path_is_found_again_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    best = snn.ModelCheckpoint("best.safetensors")
    (tmp_path / "elsewhere").mkdir()
    train("numpy", 2, lambda state: os.chdir(tmp_path / "elsewhere"), best)
    assert best.best_path == str(tmp_path / "best.safetensors")
    assert (tmp_path / "best.safetensors").exists()


@pytest.mark.parametrize(
    "make", [snn.EarlyStopping, lambda: snn.ModelCheckpoint("best.safetensors", "train_loss")]
)
@pytest.mark.parametrize("state", [{}, 3, None, [1]])
def test_a_state_of_something_else_is_refused_in_words(make: Any, state: Any) -> None:
    callback = make()
    with pytest.raises((TypeError, ValueError), match=type(callback).__name__):
        callback.load_state_dict(state)
