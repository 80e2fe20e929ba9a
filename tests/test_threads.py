"""Several threads and several runs: none gets another's numbers, and what cannot be shared is refused."""

from __future__ import annotations

import copy
import functools
import pickle
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scratchnn as snn
from scratchnn.files import model_file
from scratchnn.objective import Objective
from scratchnn.train import claims

RNG = np.random.default_rng(0)
X = RNG.standard_normal((64, 3)).astype(np.float32)
Y = (X[:, :1] > 0).astype(np.float32)
LABELS = (X[:, 0] > 0).astype(np.int64)
LOSSES: dict[str, tuple[Callable[[], snn.Loss], Any]] = {
    "mse": (snn.MSELoss, Y),
    "l1": (snn.L1Loss, Y),
    "huber": (snn.HuberLoss, Y),
    "bce": (snn.BCELoss, Y),
    "logits": (lambda: snn.BCEWithLogitsLoss(pos_weight=[2.0]), Y),
    "cross_entropy": (snn.CrossEntropyLoss, LABELS),
    "nll": (snn.NLLLoss, LABELS),
    "objective": (lambda: Objective(snn.MSELoss()), Y),
}


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def in_threads(*functions: Callable[[], Any]) -> list[Any]:
    """What each returns or raises, all run at once."""
    found: list[Any] = [None] * len(functions)

    def call(i: int) -> None:
        try:
            found[i] = functions[i]()
        except Exception as error:
            found[i] = error

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def world(outputs: int = 1) -> tuple[snn.Module, snn.Optimizer]:
    model = snn.Sequential(snn.Linear(3, 4), snn.Tanh(), snn.Linear(4, outputs))
    return model, snn.SGD(model.parameters(), lr=0.1)


def fit(model: snn.Module, loss_fn: snn.Loss, optimizer: snn.Optimizer, epochs: int = 2, **how: Any) -> Any:
    data = how.pop("data", (X, Y))
    return snn.fit(model, loss_fn, optimizer, data, epochs, **{"progress": False, "engine": "numpy", **how})


# ---- losses --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_backward_is_that_of_the_threads_own_call(name: str) -> None:
    """One thread calls between another's forward and backward: in a fixed order, not by chance."""
    make, target = LOSSES[name]
    width = 2 if target is LABELS else 1
    raw = RNG.uniform(0.1, 0.9, (64, width)).astype(np.float32)
    if name == "nll":
        raw = np.log(raw / raw.sum(axis=1, keepdims=True))
    mine, other = raw, raw[::-1].copy()
    alone = make()
    alone(mine, target)
    expected = alone.backward()
    loss_fn = make()
    loss_fn(mine, target)
    (theirs,) = in_threads(lambda: (loss_fn(other, target[::-1]), loss_fn.backward()))
    np.testing.assert_array_equal(loss_fn.backward(), expected)
    assert not np.array_equal(theirs[1], expected)
    (nothing,) = in_threads(loss_fn.backward)
    assert isinstance(nothing, RuntimeError)
    assert "backward before forward" in str(nothing)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy, lambda loss: pickle.loads(pickle.dumps(loss))])
def test_a_copy_begins_without_a_call(make: Callable[[snn.Loss], snn.Loss]) -> None:
    loss_fn = snn.HuberLoss(delta=0.5)
    loss_fn(X, X + 1)
    expected = loss_fn.backward()
    twin = make(loss_fn)
    with pytest.raises(RuntimeError, match="backward before forward"):
        twin.backward()
    twin(X, X - 3)
    np.testing.assert_array_equal(loss_fn.backward(), expected)  # the original keeps its call
    assert twin.delta == 0.5  # type: ignore[attr-defined]


class Kept(snn.MSELoss):
    """Keeps its last call on itself, as a custom loss does."""

    def forward(self, prediction: Any, target: Any) -> Any:
        self.pair = (prediction, target)
        return super().forward(prediction, target)

    def backward(self, dloss: Any = 1) -> Any:
        return (2 * dloss * (self.pair[0] - self.pair[1]) / self.pair[0].size).astype(np.float32)


def test_runs_that_share_a_loss_end_as_alone(switching: None) -> None:
    models = [world() for _ in range(3)]
    twins, shared = copy.deepcopy(models), snn.MSELoss()
    together = in_threads(*(functools.partial(fit, model, shared, o, 30) for model, o in models))
    for history, (model, optimizer) in zip(together, twins, strict=True):
        alone = fit(model, snn.MSELoss(), optimizer, 30)
        np.testing.assert_array_equal(history.step_losses, alone.step_losses)


# ---- what one run holds for itself ---------------------------------------------------------------


def during_a_run(call: Callable[[], Any], **how: Any) -> Any:
    """What `call` raises in another thread while a fit is in the middle of its run."""
    found: list[Any] = []

    def callback(state: Any) -> None:
        if state.epoch == 1:
            found.extend(in_threads(call))

    model, optimizer = how.pop("world")
    fit(
        model,
        how.pop("loss_fn", snn.MSELoss()),
        optimizer,
        callbacks=[callback, *how.pop("callbacks", [])],
        **how,
    )
    return found[0]


def shared_cases() -> dict[str, Any]:
    """For each thing that two runs may share: the second run, the first one's arguments, and a word."""
    model, optimizer = world()
    twin, twin_optimizer = world()
    tied, tied_optimizer = world()
    tied[0].weight = model[0].weight  # type: ignore[index]
    activation = snn.Sequential(snn.Linear(3, 1), model[1])  # type: ignore[index]
    over_ours = snn.SGD([*twin.parameters(), model[0].weight], lr=0.1)  # type: ignore[index]
    stopping, schedule = snn.EarlyStopping(), snn.StepLR(optimizer, 1)
    recording, kept = snn.Recording(), Kept()
    return {
        "the model": (lambda: fit(model, snn.MSELoss(), twin_optimizer), {}, "other parameters"),
        "model and optimizer": (lambda: fit(model, snn.MSELoss(), optimizer), {}, "a model"),
        "the optimizer": (lambda: fit(tied, snn.MSELoss(), optimizer), {}, "parameter 0.weight"),
        "a parameter": (lambda: fit(tied, snn.MSELoss(), tied_optimizer), {}, "parameter 0.weight"),
        "a parameter of the optimizer": (lambda: fit(twin, snn.MSELoss(), over_ours), {}, "an optimizer"),
        "a module": (
            lambda: fit(activation, snn.MSELoss(), snn.SGD(activation.parameters(), lr=0.1)),
            {},
            r"module 1 \(Tanh\)",
        ),
        "a schedule": (
            lambda: fit(twin, snn.MSELoss(), twin_optimizer, scheduler=schedule),
            {"scheduler": schedule},
            "StepLR",
        ),
        "a callback": (
            lambda: fit(twin, snn.MSELoss(), twin_optimizer, callbacks=[stopping]),
            {"callbacks": [stopping]},
            "EarlyStopping",
        ),
        "a recording": (
            lambda: fit(twin, snn.MSELoss(), twin_optimizer, callbacks=[recording]),
            {"callbacks": [recording]},
            "Recording",
        ),
        "a custom loss": (lambda: fit(twin, kept, twin_optimizer), {"loss_fn": kept}, "Kept, which keeps"),
        "fit_many": (
            lambda: snn.fit_many([model], snn.MSELoss(), [optimizer], X, Y, epochs=1, progress=False),
            {},
            "fit_many got a model",
        ),
        "first": (model, optimizer),
    }


SHARED = (
    "the model", "model and optimizer", "the optimizer", "a parameter", "a parameter of the optimizer",
    "a module", "a schedule", "a callback", "a recording", "a custom loss", "fit_many",
)  # fmt: skip


@pytest.mark.parametrize("name", SHARED)
def test_what_a_run_uses_no_other_gets(name: str) -> None:
    cases = shared_cases()
    call, how, word = cases[name]
    alone = copy.deepcopy(cases["first"])
    error = during_a_run(call, world=cases["first"], **how)
    assert isinstance(error, (RuntimeError, ValueError)), error
    with pytest.raises(type(error), match=word):
        raise error
    if name in ("the model", "model and optimizer", "fit_many"):
        fit(alone[0], snn.MSELoss(), alone[1])  # the first run is what it would be alone
        for a, b in zip(alone[0].parameters(), cases["first"][0].parameters(), strict=True):
            np.testing.assert_array_equal(a.data, b.data)
    assert not claims._HELD  # and afterwards all is free


def test_a_run_inside_a_callback_may_use_the_same_loss() -> None:
    inner, inner_optimizer = world()
    kept, told = Kept(), []
    model, optimizer = world()
    fit(model, kept, optimizer, callbacks=[lambda state: told.append(fit(inner, kept, inner_optimizer))])
    assert [history.epochs for history in told] == [2, 2]
    assert not claims._HELD


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_an_error_sets_all_free(engine: str) -> None:
    def fails(state: Any) -> None:
        raise KeyError("mine")

    model, optimizer = world()
    with pytest.raises(KeyError, match="mine"):
        fit(model, snn.MSELoss(), optimizer, callbacks=[fails], engine=engine)
    assert not claims._HELD
    fit(model, snn.MSELoss(), optimizer, engine=engine)


# ---- saving while another thread trains ----------------------------------------------------------


def test_what_is_counted_is_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step between the file's digest and its bytes, at a fixed moment."""
    model, _ = world()
    before = copy.deepcopy(model.state_dict())
    digest = model_file._digest

    def then_a_step(*args: Any) -> str:
        found = digest(*args)
        for parameter in model.parameters():
            parameter.data[...] += 1
        return found

    monkeypatch.setattr(model_file, "_digest", then_a_step)
    snn.save(model, tmp_path / "model.safetensors")
    snn.save(model.state_dict(), tmp_path / "weights.safetensors")
    monkeypatch.setattr(model_file, "_digest", digest)
    for name, value in snn.load(tmp_path / "model.safetensors").state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    snn.load(tmp_path / "weights.safetensors", model=world()[0])


def test_a_module_in_two_places_is_copied_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linear = snn.Linear(3, 3)
    model = snn.Sequential(linear, snn.Tanh(), linear)
    array = np.array

    def then_a_step(value: Any, **how: Any) -> Any:
        copied = array(value, **how)
        linear.weight.data[...] += 1
        return copied

    monkeypatch.setattr(model_file.np, "array", then_a_step)
    snn.save(model, tmp_path / "model.safetensors")
    monkeypatch.undo()
    assert snn.load(tmp_path / "model.safetensors")[0].weight.shape == (3, 3)  # type: ignore[index]
