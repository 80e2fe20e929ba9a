"""The compiled engine against the textbook's loop: the same run, whatever the network, loss and optimizer."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import scratchnn as snn
from reference.tolerances import trajectory_tolerance
from scratchnn.checks import Array

ROWS, FEATURES, CLASSES = 157, 5, 3
DTYPES = (np.float32, np.float64)


def trajectory(steps: int, dtype: Any) -> float:
    return trajectory_tolerance(steps, np.dtype(dtype), torch.device("cpu"))


def data(target: str, dtype: Any, rows: int = ROWS) -> tuple[Array, Array]:
    rng = np.random.default_rng(7)
    X = rng.standard_normal((rows, FEATURES)).astype(dtype)
    y: Array
    if target == "classes":
        y = rng.integers(0, CLASSES, rows)
    elif target == "ignored":
        y = np.where(rng.random(rows) < 0.3, -100, rng.integers(0, CLASSES, rows))
    elif target == "probabilities":
        y = rng.dirichlet(np.ones(CLASSES), rows).astype(dtype)
    elif target == "binary":
        y = (rng.random((rows, CLASSES)) < 0.5).astype(dtype)
    else:
        y = rng.standard_normal((rows, CLASSES)).astype(dtype)
    return X, y


def network(*modules: Any, dtype: Any = np.float32, hidden: int = 7) -> snn.Sequential:
    """Linear, the modules, Linear."""
    return snn.Sequential(
        snn.Linear(FEATURES, hidden, dtype=dtype), *modules, snn.Linear(hidden, CLASSES, dtype=dtype)
    )


def both(
    make: Callable[[], tuple[Any, Any, Any, Any]], epochs: int = 4, **options: Any
) -> tuple[Any, Any, snn.History, snn.History]:
    """(model and optimizer by NumPy, the same by the engine, both histories), from equal seeds."""
    out = []
    for engine in ("numpy", "numba"):
        snn.manual_seed(5)
        model, loss_fn, optimizer, loader = make()
        history = snn.fit(model, loss_fn, optimizer, loader, epochs, engine=engine, progress=False, **options)
        assert history.engine == engine
        words = snn.default_generator.words(2)
        out.append(((model, optimizer, words), history))
    return out[0][0], out[1][0], out[0][1], out[1][1]


def check(by_hand: Any, compiled: Any, slow: snn.History, fast: snn.History) -> None:
    """Equal to rounding: losses, metrics, parameters, gradients, state; and the next random words."""
    assert slow.steps == fast.steps
    assert slow.step_losses.dtype == fast.step_losses.dtype
    bound = trajectory(slow.steps, slow.step_losses.dtype)
    scale = max(1.0, float(np.abs(slow.step_losses).max()))
    np.testing.assert_allclose(fast.step_losses, slow.step_losses, rtol=0, atol=bound * scale)
    np.testing.assert_allclose(fast.train_loss, slow.train_loss, rtol=0, atol=bound * scale)
    assert fast.metrics.keys() == slow.metrics.keys()
    for name, values in slow.metrics.items():
        np.testing.assert_allclose(fast.metrics[name], values, rtol=0, atol=max(bound * scale, 1e-12))
    parameters = list(zip(by_hand[0].parameters(), compiled[0].parameters(), strict=True))
    largest = max(1.0, *(float(np.abs(a.data).max()) for a, _ in parameters))
    for a, b in parameters:
        assert a.dtype == b.dtype
        np.testing.assert_allclose(b.data, a.data, rtol=0, atol=bound * largest)
        # Of a parameter that the optimizer does not have, the textbook's loop piles up gradients; nobody
        # uses them, and the engine leaves none.
        if b.grad is not None:
            assert a.grad is not None
            largest_slope = max(1.0, float(np.abs(a.grad).max()))
            np.testing.assert_allclose(b.grad, a.grad, rtol=0, atol=100 * bound * largest_slope)
        ours, theirs = compiled[1].state.get(b, {}), by_hand[1].state.get(a, {})
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert np.asarray(value).dtype == np.asarray(ours[key]).dtype
            np.testing.assert_allclose(
                ours[key], value, rtol=0, atol=100 * bound * max(1.0, np.abs(value).max(initial=0))
            )
    np.testing.assert_array_equal(by_hand[2], compiled[2])


def program(
    target: str,
    loss_fn: Callable[[Any], Any],
    modules: Callable[[], list[Any]] = lambda: [snn.Tanh()],
    last: Callable[[], list[Any]] = list,
    optimizer: Callable[[Any], Any] = lambda p: snn.SGD(p, lr=0.1),
    dtype: Any = np.float64,
    batch: int = 32,
    **loader: Any,
) -> Callable[[], tuple[Any, Any, Any, Any]]:
    def make() -> tuple[Any, Any, Any, Any]:
        X, y = data(target, dtype)
        model = snn.Sequential(*network(*modules(), dtype=dtype), *last())
        batches = snn.DataLoader(snn.TensorDataset(X, y), batch_size=batch, **{"shuffle": True, **loader})
        return model, loss_fn(dtype), optimizer(model.parameters()), batches

    return make


ACTIVATIONS = {
    "relu": lambda: [snn.ReLU()],
    "leaky": lambda: [snn.LeakyReLU(0.2)],
    "sigmoid": lambda: [snn.Sigmoid()],
    "tanh": lambda: [snn.Tanh()],
    "threshold": lambda: [snn.Threshold(0.1, -0.5)],
    "identity": lambda: [snn.Identity()],
    "softmax": lambda: [snn.Softmax(1)],
    "log_softmax": lambda: [snn.LogSoftmax(-1)],
    "dropout": lambda: [snn.Dropout(0.3), snn.ReLU(), snn.Dropout(0.5)],
    "drop all": lambda: [snn.Dropout(1.0)],
    "two": lambda: [snn.Tanh(), snn.Sigmoid(), snn.LeakyReLU()],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("batch", [32, ROWS])
def test_activations(batch: int, name: str, dtype: Any) -> None:
    """In one panel, and in several."""
    check(*both(program("numbers", lambda _: snn.MSELoss(), ACTIVATIONS[name], dtype=dtype, batch=batch)))


LOSSES: dict[str, tuple[str, Callable[[Any], Any], Callable[[], list[Any]]]] = {
    "mse sum": ("numbers", lambda _: snn.MSELoss("sum"), list),
    "l1": ("numbers", lambda _: snn.L1Loss(), list),
    "l1 sum": ("numbers", lambda _: snn.L1Loss("sum"), list),
    "bce": ("binary", lambda _: snn.BCELoss(), lambda: [snn.Sigmoid()]),
    "bce sum": ("binary", lambda _: snn.BCELoss(reduction="sum"), lambda: [snn.Sigmoid()]),
    "bce weight": ("binary", lambda d: snn.BCELoss(np.array([0.5, 2, 1], d)), lambda: [snn.Sigmoid()]),
    "logits": ("binary", lambda _: snn.BCEWithLogitsLoss(), list),
    "logits weights": (
        "binary",
        lambda d: snn.BCEWithLogitsLoss(np.array([0.5, 2, 1], d), pos_weight=np.array([3, 0.1, 1], d)),
        list,
    ),
    "logits scalar": ("binary", lambda d: snn.BCEWithLogitsLoss(pos_weight=np.array(3, d)), list),
    "nll": ("classes", lambda _: snn.NLLLoss(), lambda: [snn.LogSoftmax(1)]),
    "nll weight": ("ignored", lambda d: snn.NLLLoss(np.array([1, 0.3, 2], d)), lambda: [snn.LogSoftmax(1)]),
    "nll sum": ("ignored", lambda _: snn.NLLLoss(reduction="sum"), lambda: [snn.LogSoftmax(1)]),
    "ce": ("classes", lambda _: snn.CrossEntropyLoss(), list),
    "ce sum": ("classes", lambda _: snn.CrossEntropyLoss(reduction="sum"), list),
    "ce weight": ("ignored", lambda d: snn.CrossEntropyLoss(np.array([1, 0.3, 2], d)), list),
    "ce ignore 1": ("classes", lambda _: snn.CrossEntropyLoss(ignore_index=1), list),
    "ce smooth": (
        "ignored",
        lambda d: snn.CrossEntropyLoss(np.array([1, 0.3, 2], d), label_smoothing=0.1),
        list,
    ),
    "ce soft": (
        "probabilities",
        lambda d: snn.CrossEntropyLoss(np.array([1, 0.3, 2], d), label_smoothing=0.2),
        list,
    ),
    "ce soft sum": ("probabilities", lambda _: snn.CrossEntropyLoss(reduction="sum"), list),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str, dtype: Any) -> None:
    target, loss_fn, last = LOSSES[name]
    lr = 0.002 if "sum" in name else 0.1
    make = program(target, loss_fn, last=last, dtype=dtype, optimizer=lambda p: snn.SGD(p, lr=lr))
    check(*both(make, metrics=[] if target == "numbers" else ["accuracy"]))


@pytest.mark.filterwarnings("ignore:.*Softmax")
def test_softmax_into_cross_entropy() -> None:
    check(*both(program("classes", lambda _: snn.CrossEntropyLoss(), last=lambda: [snn.Softmax(1)])))


def two_groups(make: Callable[..., Any], **other: Any) -> Callable[[Any], Any]:
    def optimizer(parameters: Any) -> Any:
        first, *rest = parameters
        return make([{"params": rest}, {"params": [first], **other}])

    return optimizer


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "momentum": lambda p: snn.SGD(p, lr=0.05, momentum=0.9),
    "dampening": lambda p: snn.SGD(p, lr=0.05, momentum=0.8, dampening=0.3, weight_decay=0.01),
    "nesterov": lambda p: snn.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "maximize": lambda p: snn.SGD(p, lr=0.01, weight_decay=0.1, maximize=True),
    "adam": lambda p: snn.Adam(p, lr=0.01),
    "adam beta": lambda p: snn.Adam(p, lr=0.01, betas=(0.3, 0.9), eps=1e-4),
    "adam decay": lambda p: snn.Adam(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "adamw": lambda p: snn.AdamW(p, lr=0.01),
    "adamw amsgrad": lambda p: snn.AdamW(p, lr=0.01, weight_decay=0.2, amsgrad=True, maximize=True),
    "groups sgd": two_groups(lambda g: snn.SGD(g, lr=0.1), momentum=0.5, lr=0.01),
    "groups adam": two_groups(lambda g: snn.Adam(g, lr=0.01), weight_decay=0.1, amsgrad=True),
    "some": lambda p: snn.Adam([q for q in p if q.data.ndim == 2], lr=0.01),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str, dtype: Any) -> None:
    check(*both(program("numbers", lambda _: snn.MSELoss(), optimizer=OPTIMIZERS[name], dtype=dtype)))


@pytest.mark.parametrize(
    ("batch", "options"),
    [
        (1, {}),
        (3, {"drop_last": True}),
        (24, {"shuffle": False}),
        (64, {}),
        (65, {}),
        (100, {"shuffle": False, "drop_last": True}),
        (157, {}),
        (1000, {}),
    ],
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_batches(batch: int, options: dict[str, bool], dtype: Any) -> None:
    make = program("classes", lambda _: snn.CrossEntropyLoss(), dtype=dtype, batch=batch, **options)
    check(*both(make, 2, metrics=["accuracy"]))


@pytest.mark.parametrize("target", ["numbers", "ignored"])
def test_full_batch_pair(target: str) -> None:
    """(X, y) is one batch an epoch; 700 rows are several tiles."""

    def make() -> tuple[Any, Any, Any, Any]:
        model = network(snn.Tanh(), dtype=np.float64)
        loss_fn = snn.MSELoss() if target == "numbers" else snn.CrossEntropyLoss()
        return model, loss_fn, snn.Adam(model.parameters()), data(target, np.float64, 700)

    check(*both(make, 20, metrics=[] if target == "numbers" else ["accuracy"]))


def test_several_tiles_out_of_order() -> None:
    """Batches of more panels than are in hand together, with dropout, and a short last one."""

    def make() -> tuple[Any, Any, Any, Any]:
        model = network(snn.Dropout(0.3), snn.Tanh(), snn.Dropout(0.1), dtype=np.float32)
        loader = snn.DataLoader(snn.TensorDataset(*data("numbers", np.float32, 2500)), 1000, True)
        return model, snn.L1Loss(), snn.SGD(model.parameters(), lr=0.1), loader

    check(*both(make))


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 1), (13, 6, 7), (40, 33, 21, 12), (70, 130, 5)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_widths(shape: tuple[int, ...], dtype: Any) -> None:
    """Every remainder of the register blocks, with and without bias."""

    def make() -> tuple[Any, Any, Any, Any]:
        rng = np.random.default_rng(1)
        modules: list[Any] = []
        for i, (a, b) in enumerate(itertools.pairwise(shape)):
            modules += [snn.Linear(a, b, bias=i != 1, dtype=dtype), snn.Sigmoid()]
        model = snn.Sequential(*modules)
        X, y = rng.standard_normal((90, shape[0])), rng.random((90, shape[-1]))
        loader = snn.DataLoader(snn.TensorDataset(X.astype(dtype), y.astype(dtype)), 40, True)
        return model, snn.MSELoss(), snn.SGD(model.parameters(), lr=1.0), loader

    check(*both(make))


def test_arrays_of_every_kind() -> None:
    """Lists, strided, Fortran-ordered and read-only arrays, other dtypes: the run of a plain array."""
    X, y = data("numbers", np.float32)
    wide = np.zeros((2 * ROWS, 2 * FEATURES), np.float32)
    wide[::2, ::2] = X
    locked = X.copy()
    locked.flags.writeable = False
    runs = []
    for given in (X, X.tolist(), wide[::2, ::2], np.asfortranarray(X), locked, X.astype(np.float64)):
        before = np.array(given)
        snn.manual_seed(1)
        model = network(snn.Tanh())
        history = snn.fit(
            model,
            snn.MSELoss(),
            snn.SGD(model.parameters(), lr=0.1),
            (given, y),
            5,
            engine="numba",
            progress=False,
        )
        np.testing.assert_array_equal(np.array(given), before)
        runs.append(history.step_losses)
    for losses in runs[1:]:
        np.testing.assert_array_equal(losses, runs[0])


def test_shared_layer() -> None:
    """One Linear in two places: its gradients add up."""

    def make() -> tuple[Any, Any, Any, Any]:
        shared = snn.Linear(7, 7, dtype=np.float64)
        model = network(shared, snn.Tanh(), shared, dtype=np.float64)
        loader = snn.DataLoader(snn.TensorDataset(*data("numbers", np.float64)), 32, True)
        return model, snn.MSELoss(), snn.SGD(model.parameters(), lr=0.1, momentum=0.9), loader

    check(*both(make))


def test_nested_and_input_layers() -> None:
    """Layers before the first Linear, a Sequential in a Sequential."""

    def make() -> tuple[Any, Any, Any, Any]:
        inner = snn.Sequential(snn.Dropout(0.2), snn.LeakyReLU(), network(snn.ReLU()))
        model = snn.Sequential(snn.Identity(), inner, snn.Identity())
        loader = snn.DataLoader(snn.TensorDataset(*data("numbers", np.float32)), 32, True)
        return model, snn.MSELoss(), snn.SGD(model.parameters(), lr=0.1), loader

    check(*both(make))


def test_own_generator() -> None:
    """A loader with a generator of its own draws and discards an order more every epoch."""
    generators: list[Any] = []

    def make() -> tuple[Any, Any, Any, Any]:
        generators.append(snn.Generator().manual_seed(9))
        return program("numbers", lambda _: snn.MSELoss(), generator=generators[-1])()

    check(*both(make))
    np.testing.assert_array_equal(*(generator.words(3) for generator in generators))


def test_validation_and_callbacks() -> None:
    """Evaluated between epochs; a callback may change the learning rate and the parameters."""

    def slower(state: Any) -> None:
        for group in state.optimizer.param_groups:
            group["lr"] *= 0.5
        next(iter(state.model.parameters())).data[0, 0] = 0.25

    make = program("classes", lambda _: snn.CrossEntropyLoss(), lambda: [snn.Dropout(0.2), snn.ReLU()])
    held_out = data("classes", np.float64, 50)
    slow = both(make, callbacks=[slower], validation=held_out, metrics=["accuracy"])
    check(*slow)
    np.testing.assert_allclose(slow[3].val_loss, slow[2].val_loss, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["adam decay", "nesterov", "adamw amsgrad"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_continuing_is_exact(name: str, dropout: float) -> None:
    """50 epochs and 50 more are 100, bit for bit: parameters, state, losses, random words."""
    ends = []
    for parts in ((10,), (5, 5), (1,) * 10):
        snn.manual_seed(3)
        make = program(
            "classes",
            lambda _: snn.CrossEntropyLoss(),
            lambda: [snn.Dropout(dropout), snn.Tanh()],
            optimizer=OPTIMIZERS[name],
            dtype=np.float32,
            batch=20,
        )
        model, loss_fn, optimizer, loader = make()
        losses = [
            snn.fit(model, loss_fn, optimizer, loader, n, engine="numba", progress=False).step_losses
            for n in parts
        ]
        state = copy.deepcopy(optimizer.state_dict()["state"])
        ends.append((np.concatenate(losses), [p.data for p in model.parameters()], state))
        ends[-1][1].append(snn.rand(4))
    for losses, parameters, state in ends[1:]:
        np.testing.assert_array_equal(losses, ends[0][0])
        for a, b in zip(parameters, ends[0][1], strict=True):
            np.testing.assert_array_equal(a, b)
        for index, entries in state.items():
            for key, value in entries.items():
                np.testing.assert_array_equal(value, ends[0][2][index][key])


def test_engines_take_turns() -> None:
    """Optimizer state moves between the engines as between two runs of one."""
    runs = []
    for engines in (("numpy", "numpy"), ("numba", "numpy"), ("numpy", "numba")):
        snn.manual_seed(2)
        model, loss_fn, optimizer, loader = program(
            "numbers", lambda _: snn.MSELoss(), optimizer=OPTIMIZERS["adam decay"]
        )()
        for engine in engines:
            snn.fit(model, loss_fn, optimizer, loader, 3, engine=engine, progress=False)
        runs.append([p.data for p in model.parameters()])
    for run in runs[1:]:
        for a, b in zip(run, runs[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=trajectory(30, np.dtype(np.float64)))


@pytest.mark.parametrize("target", ["probabilities", "classes"])
def test_of_equal_scores_the_first_counts(target: str) -> None:
    """As argmax has it, among the outputs and, where the target is probabilities, there as well."""
    shares = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.4, 0.2, 0.4], [0.2, 0.2, 0.6]])
    y = shares if target == "probabilities" else np.array([0, 1, 2, 0])

    def make() -> tuple[Any, Any, Any, Any]:
        model = snn.Sequential(snn.Linear(2, 3, dtype=np.float64))
        model[0].weight.data[...], model[0].bias.data[...] = 0, [0.5, 0.5, 0.5]
        return model, snn.CrossEntropyLoss(), snn.SGD(model.parameters(), lr=0.0), (np.ones((4, 2)), y)

    _, _, slow, fast = both(make, epochs=1, metrics=["accuracy"])
    assert fast.metrics == slow.metrics
    assert slow.metrics["accuracy"] == [0.5]


def test_an_impossible_class_costs_nothing() -> None:
    """A logit of -inf away from the target: 0 times infinity must not get into the loss."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 3, 40)
    X = rng.uniform(1, 2, (40, 3))
    X[np.arange(40), (y + 1) % 3] = -1

    def make() -> tuple[Any, Any, Any, Any]:
        model = snn.Sequential(snn.Linear(3, 3, dtype=np.float64), snn.Threshold(0.0, -np.inf))
        model[0].weight.data[...], model[0].bias.data[...] = np.eye(3), 0
        return model, snn.CrossEntropyLoss(), snn.SGD(model.parameters(), lr=0.01), (X, y)

    by_hand, compiled, slow, fast = both(make)
    assert np.isfinite(slow.step_losses).all()
    check(by_hand, compiled, slow, fast)
