"""What a compiled engine gets wrong first: divergence, interruption, denormals, memory, refusals."""

from __future__ import annotations

import _thread
import contextlib
import math
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scratchnn as snn
from scratchnn.checks import Array
from scratchnn.engine import LoweringError


def regression(rows: int = 200, dtype: Any = np.float64) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((rows, 3)).astype(dtype), rng.standard_normal((rows, 1)).astype(dtype)


def linear(dtype: Any = np.float64) -> snn.Sequential:
    return snn.Sequential(snn.Linear(3, 4, dtype=dtype), snn.ReLU(), snn.Linear(4, 1, dtype=dtype))


# ---- numbers that are no numbers ----------------------------------------------------------------


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lr", [1e200, 1e6, 3.0, 1.5])
def test_divergence(lr: float, dtype: Any, momentum: float) -> None:
    """Both engines stop at the same step and keep what they held at the last finite loss."""
    lr = min(lr, 1e30) if dtype == np.float32 else lr
    ends = []
    for engine in ("numpy", "numba"):
        snn.manual_seed(1)
        model = linear(dtype)
        optimizer = snn.SGD(model.parameters(), lr=lr, momentum=momentum)
        loader = snn.DataLoader(snn.TensorDataset(*regression(dtype=dtype)), 30, shuffle=True)
        with pytest.raises(snn.DivergenceError) as caught:
            snn.fit(model, snn.MSELoss(), optimizer, loader, 2000, engine=engine, progress=False)
        parameters = [p.data.copy() for p in model.parameters()]
        assert all(np.isfinite(p).all() for p in parameters)
        ends.append((caught.value, parameters, optimizer.state_dict()["state"]))
    (slow, by_hand, their_state), (fast, compiled, our_state) = ends
    assert (fast.epoch, fast.step) == (slow.epoch, slow.step)
    assert fast.history.steps == slow.history.steps
    assert str(fast) == str(slow)
    tolerance = 1e-3 if dtype == np.float32 else 1e-9  # a diverging run doubles its rounding at every step
    for a, b in zip(by_hand, compiled, strict=True):
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * np.abs(a).max())
    assert our_state.keys() == their_state.keys()
    for index, entries in their_state.items():
        assert our_state[index].keys() == entries.keys()


@pytest.mark.parametrize("good_steps", [0, 1, 2, 7, 20, 41])
def test_last_good_parameters_exactly(good_steps: int) -> None:
    """An infinite loss after some good ones: the last good step is undone, bit for bit, state included."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((good_steps + 1, 3)).astype(np.float32)
    y = np.ones((good_steps + 1, 1), np.float32)
    y[-1] = 1e30  # its square is infinite in float32

    def trained(rows: int) -> tuple[list[Array], Any]:
        snn.manual_seed(0)
        model = linear(np.float32)
        optimizer = snn.Adam(model.parameters())
        if rows:
            loader = snn.DataLoader(snn.TensorDataset(X[:rows], y[:rows]), 1)
            diverges = pytest.raises(snn.DivergenceError) if rows > good_steps else contextlib.nullcontext()
            with diverges as caught:
                snn.fit(model, snn.MSELoss(), optimizer, loader, 1, engine="numba", progress=False)
            assert caught is None or caught.value.step == good_steps + 1
        return [p.data for p in model.parameters()], optimizer.state_dict()["state"]

    parameters, state = trained(good_steps + 1)
    want, want_state = trained(max(good_steps - 1, 0))
    for a, b in zip(parameters, want, strict=True):
        np.testing.assert_array_equal(a, b)
    for index, entries in want_state.items():
        for key, value in entries.items():
            np.testing.assert_array_equal(state[index][key], value)


def test_divergence_at_the_first_step_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step before was made by an earlier compiled call: what it moved is put back all the same."""
    from scratchnn.train import numba_engine

    monkeypatch.setattr(numba_engine, "CALL_SECONDS", 0.0)  # one step a call
    test_last_good_parameters_exactly(7)


@pytest.mark.parametrize("good_epochs", [0, 1, 2, 5])
@pytest.mark.parametrize("rule", [snn.Adam, lambda p: snn.SGD(p, momentum=0.9)])
def test_divergence_at_the_first_step_of_a_block(rule: Any, good_epochs: int) -> None:
    """Watched by a callback, every epoch is a block of its own; the one before is undone, state included."""
    ends = []
    for engine in ("numpy", "numba"):
        snn.manual_seed(0)
        model = linear(np.float32)
        optimizer = rule(model.parameters())
        optimizer.param_groups[0]["lr"] = 1e30 if good_epochs == 0 else 1e-3
        X, y = regression(20, np.float32)

        def poison(state: Any) -> None:
            if state.epoch == good_epochs:
                state.optimizer.param_groups[0]["lr"] = 1e30

        with pytest.raises(snn.DivergenceError) as caught:
            snn.fit(
                model, snn.MSELoss(), optimizer, (X, y), 9, engine=engine, callbacks=[poison], progress=False
            )
        assert caught.value.epoch == good_epochs + 2
        ends.append(([p.data for p in model.parameters()], optimizer.state_dict()["state"]))
    (by_hand, their_state), (compiled, our_state) = ends
    for a, b in zip(by_hand, compiled, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-6)
    assert our_state.keys() == their_state.keys()
    for index, entries in their_state.items():
        assert our_state[index].keys() == entries.keys()
        for key, value in entries.items():
            np.testing.assert_allclose(our_state[index][key], value, rtol=0, atol=1e-6)


def test_no_probability() -> None:
    """BCELoss without a Sigmoid: the textbook's error, at the step where it turns up."""
    X, y = regression()
    messages = []
    for engine in ("numpy", "numba"):
        snn.manual_seed(3)
        model = linear()
        with pytest.raises(ValueError, match="end the model in Sigmoid") as caught:
            snn.fit(
                model, snn.BCELoss(), snn.SGD(model.parameters(), lr=0.1), (X, (y > 0).astype(float)), 3,
                engine=engine, progress=False,
            )  # fmt: skip
        messages.append(str(caught.value)[:40])
    assert messages[0] == messages[1]


def test_saturated_sigmoid_learns_nothing() -> None:
    """Where p is exactly 0 or 1 the gradient through BCE and sigmoid vanishes; p - t would not."""
    for engine in ("numpy", "numba"):
        model = snn.Sequential(snn.Linear(1, 1), snn.Sigmoid())
        first = model[0]
        assert isinstance(first, snn.Linear)
        assert first.bias is not None
        first.weight.data[:], first.bias.data[:] = 200, 0
        X, y = np.array([[1.0], [-1.0]], np.float32), np.array([[0.0], [1.0]], np.float32)
        history = snn.fit(
            model,
            snn.BCELoss(),
            snn.SGD(model.parameters(), lr=1.0),
            (X, y),
            3,
            engine=engine,
            progress=False,
        )
        np.testing.assert_array_equal(first.weight.data, 200)
        assert history.train_loss == [100, 100, 100]


def test_dead_unit_leaves_no_denormals() -> None:
    """Adam's m of a dead unit is flushed to 0, where the textbook's loop leaves it at 6e-45 for good."""
    X, y = regression(20, np.float32)
    model = linear(np.float32)
    optimizer = snn.Adam(model.parameters(), lr=1e-3)
    snn.fit(model, snn.MSELoss(), optimizer, (X, y), 5, engine="numba", progress=False)
    first = model[0]
    assert isinstance(first, snn.Linear)
    assert first.bias is not None
    first.bias.data[:] = -100  # every unit is dead from here on
    snn.fit(model, snn.MSELoss(), optimizer, (X, y), 2000, engine="numba", progress=False)
    m = optimizer.state[first.weight]["exp_avg"]
    np.testing.assert_array_equal(m, 0)
    tiny = np.finfo(np.float32).tiny
    for entries in optimizer.state.values():
        for value in entries.values():
            assert not ((np.abs(value) > 0) & (np.abs(value) < tiny)).any()


# ---- stopping -----------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [4, 1500])
def test_ctrl_c_stops_within_a_second(width: int) -> None:
    """Small steps by the million or large ones of some milliseconds; what was learnt stays in the model."""
    X, y = regression(256, np.float32)
    model = snn.Sequential(
        snn.Linear(3, width), snn.ReLU(), snn.Linear(width, width), snn.ReLU(), snn.Linear(width, 1)
    )
    optimizer = snn.SGD(model.parameters(), lr=1e-4)
    snn.fit(model, snn.MSELoss(), optimizer, (X, y), 1, engine="numba", progress=False)
    before = [p.data.copy() for p in model.parameters()]
    asked: list[float] = []

    def interrupt() -> None:
        asked.append(time.perf_counter())
        _thread.interrupt_main()

    threading.Timer(0.6, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        snn.fit(model, snn.MSELoss(), optimizer, (X, y), 10**9, engine="numba", progress=False)
    assert time.perf_counter() - asked[0] < 1
    assert any((a != p.data).any() for a, p in zip(before, model.parameters(), strict=True))
    assert all(np.isfinite(p.data).all() for p in model.parameters())


# ---- threads and memory -------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_no_threads_of_its_own() -> None:
    """A compiled run starts no pool that could get in the way of NumPy's, torch's or scikit-learn's."""

    def threads() -> int:
        return int(Path("/proc/self/status").read_text().split("Threads:")[1].split()[0])

    model = snn.Sequential(snn.Linear(784, 128), snn.ReLU(), snn.Linear(128, 10))
    rng = np.random.default_rng(0)
    X, y = rng.random((256, 784)).astype(np.float32), rng.integers(0, 10, 256)
    before = threads()
    snn.fit(
        model, snn.CrossEntropyLoss(), snn.Adam(model.parameters()),
        snn.DataLoader(snn.TensorDataset(X, y), 128, True), 3, engine="numba", progress=False,
    )  # fmt: skip
    assert threads() == before


MAPPED = """
import sys
import numpy as np
import scratchnn as snn

def anonymous():
    return int(open("/proc/self/status").read().split("RssAnon:")[1].split()[0]) / 1024

X = np.memmap(sys.argv[1], np.float32, "r", shape=(1 << 20, 64))
y = np.zeros((1 << 20, 1), np.float32)
model = snn.Sequential(snn.Linear(64, 4), snn.ReLU(), snn.Linear(4, 1))
optimizer = snn.SGD(model.parameters(), lr=0.1)
loader = snn.DataLoader(snn.TensorDataset(X, y), 256, shuffle=True)
few = snn.DataLoader(snn.TensorDataset(np.array(X[:256]), y[:256]), batch_size=64, shuffle=True)
snn.fit(model, snn.MSELoss(), optimizer, few, 1, engine="numba", progress=False)
before = anonymous()
history = snn.fit(model, snn.MSELoss(), optimizer, loader, 1, engine="numba", progress=False)
assert history.steps == 4096
print(anonymous() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_mapped_file_is_gathered_in_parts(tmp_path: Path) -> None:
    """An array of 256 MB on disk: no copy of it comes to be in memory."""
    file = tmp_path / "X.bin"
    with file.open("wb") as handle:
        handle.truncate(2**28)
    done = subprocess.run(
        [sys.executable, "-c", MAPPED, str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 64, "MB more than before"


# ---- what it does not take ----------------------------------------------------------------------


class Own(snn.Module):
    """A module of one's own around a Linear."""

    def __init__(self) -> None:
        self.inner = snn.Linear(3, 1, dtype=np.float64)

    def forward(self, x: Any) -> Array:
        return self.inner(x)

    def backward(self, dy: Any) -> Array:
        return self.inner.backward(dy)


class OwnLinear(snn.Linear):
    """A subclass may compute anything."""


class OwnLoss(snn.MSELoss):
    """So may a loss."""


class OwnSGD(snn.SGD):
    """And an optimizer."""


def hooked() -> snn.Module:
    model = linear()
    model[1].register_forward_hook(lambda module, x, y: None)
    return model


def tied() -> snn.Module:
    """Two layers with one weight and biases of their own."""
    first, second = (snn.Linear(3, 3, dtype=np.float64) for _ in range(2))
    second.weight = first.weight
    return snn.Sequential(first, second, snn.Linear(3, 1, dtype=np.float64))


def refusals() -> dict[str, tuple[Any, ...]]:
    X, y = regression()
    per_row = np.ones((200, 1))
    own_step = snn.Sequential(OwnLinear(3, 1, dtype=np.float64))
    logits = snn.BCEWithLogitsLoss
    return {
        "Own": (Own(), snn.MSELoss(), snn.SGD, (X, y)),
        "OwnLinear": (own_step, snn.MSELoss(), snn.SGD, (X, y)),
        "OwnLoss": (linear(), OwnLoss(), snn.SGD, (X, y)),
        "OwnSGD": (linear(), snn.MSELoss(), OwnSGD, (X, y)),
        "forward hook on ReLU": (hooked(), snn.MSELoss(), snn.SGD, (X, y)),
        "shares its weight or its bias": (tied(), snn.MSELoss(), snn.SGD, (X, y)),
        "Softmax": (snn.Sequential(linear(), snn.Softmax(0)), snn.MSELoss(), snn.SGD, (X, y)),
        "weight of shape": (linear(), logits(per_row), snn.SGD, (X, (y > 0).astype(float))),
        "inputs of shape": (linear(), snn.MSELoss(), snn.SGD, (X[:, None], y[:, None])),
        "batch by batch": (linear(), snn.MSELoss(), snn.SGD, [(X, y), (X, y), (X, y)]),
    }


@pytest.mark.parametrize("name", refusals())
def test_refused_by_name(name: str) -> None:
    """engine="numba" says what it cannot take, before anything changes; "auto" takes NumPy and says why."""
    model, loss_fn, rule, given = refusals()[name]
    before = [p.data.copy() for p in model.parameters()]
    optimizer = rule(model.parameters(), lr=1e-3)
    with pytest.raises(LoweringError, match=name):
        snn.fit(model, loss_fn, optimizer, given, 2, engine="numba", progress=False)
    for a, p in zip(before, model.parameters(), strict=True):
        np.testing.assert_array_equal(a, p.data)
    history = snn.fit(model, loss_fn, optimizer, given, 2, engine="auto", progress=False)
    assert history.engine == "numpy"
    assert name in history.reason


def test_metric_of_ones_own() -> None:
    def error(prediction: Array, target: Array) -> float:
        return float(np.abs(prediction - target).mean())

    model = linear()
    history = snn.fit(
        model,
        snn.MSELoss(),
        snn.SGD(model.parameters(), lr=0.1),
        regression(),
        2,
        metrics=[error],
        progress=False,
    )
    assert history.engine == "numpy"
    assert "the metric error" in history.reason
    assert not math.isnan(history.metrics["error"][-1])


def test_auto_takes_the_engine() -> None:
    model = linear()
    history = snn.fit(
        model, snn.MSELoss(), snn.SGD(model.parameters(), lr=0.1), regression(), 2, progress=False
    )
    assert history.engine == "numba"
    assert history.reason


def test_import_loads_no_numba() -> None:
    code = "import sys, scratchnn; print('numba' in sys.modules, 'llvmlite' in sys.modules)"
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["False", "False"]
