"""What a callback changes between epochs counts from the next one on: on both engines, as by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import scratchnn as snn

ROWS, EPOCHS, AFTER = 40, 4, 2
rng = np.random.default_rng(0)
X = rng.standard_normal((ROWS, 3)).astype(np.float32)
CLASSES = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)


class World:
    """All objects of one run, from one seed."""

    def __init__(self) -> None:
        snn.manual_seed(0)
        self.model = snn.Sequential(
            snn.Linear(3, 5), snn.LeakyReLU(0.1), snn.Dropout(0.3), snn.Threshold(0.1, -0.2), snn.Linear(5, 3)
        )
        self.loss = snn.CrossEntropyLoss(weight=np.ones(3, np.float32))
        self.optimizer = snn.SGD(self.model.parameters(), lr=0.1, momentum=0.5)
        self.base = snn.TensorDataset(X.copy(), CLASSES.copy())
        self.subset = snn.Subset(self.base, np.arange(3, 35))
        self.loader = snn.DataLoader(self.subset, 16, shuffle=True)

    def parts(self) -> dict[str, Any]:
        found = {"loader": self.loader, "subset": self.subset, "base": self.base, "loss": self.loss}
        found["optimizer"] = self.optimizer
        found |= {f"module {name}": module for name, module in self.model.named_modules()}
        found |= {f"parameter {name}": p for name, p in self.model.named_parameters()}
        return found | {f"group {i}": group for i, group in enumerate(self.optimizer.param_groups)}


def others(value: Any) -> list[Any]:
    """Values to put in an attribute's place, some of them hostile."""
    if isinstance(value, bool):
        return [not value, "yes", None]
    if isinstance(value, int):
        return [1, 7, 0, -1, 10**9, 10**30, 2.5, "x", None]
    if isinstance(value, float):
        return [0.0, 0.05, -0.5, 7.0, float("nan"), "x", None]
    if isinstance(value, str):
        return ["sum", "none", "banana", None]
    if isinstance(value, snn.Module):
        return [snn.Tanh(), snn.Linear(9, 9), None, "x"]
    if isinstance(value, snn.Parameter):
        return [snn.Parameter(value.data * 2), snn.Parameter(np.ones((7, 7), np.float32)), None]
    if isinstance(value, np.ndarray) and value.dtype.kind == "i":
        return [value[:9], value + 10**6, None]
    if isinstance(value, np.ndarray):
        return [value * 2, value.astype(np.float64), value * np.nan, np.ones((4, 4), np.float32), None, "x"]
    if isinstance(value, tuple):
        x, y = value
        return [
            (x[:38], y[:38]),
            (x[:20], y),
            (x, y + 10**9),
            (x, y - 5),
            (x.astype(float), y),
            (x * np.nan, y),
            None,
        ]
    if isinstance(value, snn.TensorDataset | snn.Subset):
        return [snn.TensorDataset(X[:36], CLASSES[:36]), [1, 2], None]
    return []


def attributes() -> Iterator[tuple[str, str, int]]:
    """(part, name, number of the other value) of everything public that the objects have."""
    for part, one in World().parts().items():
        entries = one if isinstance(one, dict) else vars(one)
        for name, value in entries.items():
            if not name.startswith("_"):
                yield from ((part, name, i) for i in range(len(others(value))))


def change(world: World, part: str, name: str, i: int) -> None:
    one = world.parts()[part]
    if isinstance(one, dict):
        one[name] = others(one[name])[i]
    else:
        setattr(one, name, others(getattr(one, name))[i])


def outcome(engine: str, edit: Any) -> tuple[Any, list[Any]]:
    world = World()

    def callback(state: Any) -> None:
        if state.epoch == AFTER:
            edit(world)

    error: Any = None
    try:
        if engine == "hand":
            by_hand(world, edit)
        else:
            snn.fit(
                world.model, world.loss, world.optimizer, world.loader, EPOCHS, engine=engine,
                progress=False, callbacks=[callback],
            )  # fmt: skip
    except Exception as refusal:
        error = type(refusal), str(refusal)
    return error, [p.data.copy() for p in world.model.parameters()]


def by_hand(world: World, edit: Any) -> None:
    for epoch in range(1, EPOCHS + 1):
        for x, target in world.loader:
            dtype = next(iter(world.model.parameters())).dtype
            world.optimizer.zero_grad()
            world.loss(world.model(x.astype(dtype)), target)
            world.model.backward(world.loss.backward())
            world.optimizer.step()
        if epoch == AFTER:
            edit(world)


def same(ones: list[Any], others: list[Any]) -> bool:
    return len(ones) == len(others) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5)
        for a, b in zip(ones, others, strict=True)
    )


@pytest.mark.filterwarnings("ignore")
def test_every_attribute() -> None:
    """Both engines end with the same numbers or the same words; with numbers, so does the loop by hand."""
    wrong = []
    for case in attributes():
        error, slow = outcome("numpy", lambda world, case=case: change(world, *case))
        refusal, fast = outcome("numba", lambda world, case=case: change(world, *case))
        if error != refusal or not same(slow, fast):
            wrong.append((case, error, refusal))
        elif error is None and not same(
            slow, outcome("hand", lambda world, case=case: change(world, *case))[1]
        ):
            wrong.append((case, "by hand"))
    assert wrong == []


def labels_in_place(value: int) -> Any:
    return lambda world: world.base.tensors[1].__setitem__(slice(5, None), value)


@pytest.mark.parametrize("value", [10**9, -5, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_labels_in_place(value: int, shuffle: bool) -> None:
    def edit(world: World) -> None:
        world.loader.shuffle = shuffle
        labels_in_place(value)(world)

    slow, fast = outcome("numpy", edit), outcome("numba", edit)
    assert slow[0] == fast[0]
    assert slow[0][0] is IndexError
    assert f"class index {value}" in slow[0][1]
    assert same(slow[1], fast[1])


EDITS: dict[str, Any] = {
    "hook": lambda w: w.model[1].register_forward_hook(lambda module, x, y: y * 2),
    "forward": lambda w: setattr(w.model[1], "forward", lambda x: w.model[1]._remember(x * 0, x)),
    "step": lambda w: setattr(w.optimizer, "step", lambda *a: None),
    "eval": lambda w: w.model[2].eval(),
    "append": lambda w: w.model.append(snn.Tanh()),
    "astype": lambda w: (w.model.astype(np.float64), setattr(w.loss, "weight", None)),
    "weights": lambda w: w.model[0].weight.data.__imul__(2),
    "data": lambda w: w.base.tensors[0].__imul__(2),
    "loss weight": lambda w: w.loss.weight.__setitem__(0, 3),
    "group": lambda w: w.optimizer.add_param_group({"params": [snn.Parameter([1.0])]}),
}


@pytest.mark.parametrize("name", EDITS)
def test_what_is_honoured(name: str) -> None:
    slow, fast, hand = (outcome(engine, EDITS[name]) for engine in ("numpy", "numba", "hand"))
    assert slow[0] is fast[0] is hand[0] is None
    assert same(slow[1], hand[1])
    assert same(fast[1], hand[1])


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_all_targets_ignored_is_not_a_matter_of_lr(engine: str) -> None:
    error, _ = outcome(engine, labels_in_place(-100))
    assert error[0] is snn.DivergenceError
    assert "all targets of that batch are ignored" in error[1]
    assert "lr" not in error[1]


@pytest.mark.parametrize("engine", ["numpy", "numba"])
def test_a_weight_made_infinite_is_named_at_the_next_step(engine: str) -> None:
    error, weights = outcome(engine, lambda w: w.model[0].weight.data.fill(np.inf))
    assert error[0] is snn.DivergenceError
    assert "parameter 0.weight is inf before epoch 3, step 1" in error[1]
    assert all(np.isfinite(one).all() for one in weights)
