"""What fit refuses, it refuses before anything has changed: weights, modes, optimizer, generators, ..."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scratchnn as snn
from scratchnn.engine import LoweringError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((24, 2)).astype(np.float32)
Y = (X[:, :1] > 0).astype(np.float32)


class World:
    """A run about to begin, with something of everything that a run moves."""

    def __init__(self) -> None:
        snn.manual_seed(0)
        self.model = snn.Sequential(snn.Linear(2, 4), snn.Tanh(), snn.Dropout(0.5), snn.Linear(4, 1))
        self.model[2].eval()  # modes of their own
        self.optimizer = snn.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.schedule = snn.StepLR(self.optimizer, 2)
        self.generator = snn.Generator().manual_seed(3)
        self.loader = snn.DataLoader(snn.TensorDataset(X, Y), 8, shuffle=True, generator=self.generator)
        self.stopping = snn.EarlyStopping(patience=3)
        fit(self, epochs=4, validation=(X, Y), callbacks=[self.stopping])  # so that all remember something

    def held(self) -> Any:
        """All that a refusal leaves as it is."""
        return copy.deepcopy(
            {
                "weights": [p.data for p in self.model.parameters()],
                "gradients": [p.grad for p in self.model.parameters()],
                "modes": [module.training for module in self.model.modules()],
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "stopping": self.stopping.state_dict(),
                "default generator": snn.default_generator.get_state(),
                "generator": self.generator.get_state(),
            }
        )


def fit(world: World, **change: Any) -> snn.History:
    arguments: dict[str, Any] = {"data": world.loader, "epochs": 3, "scheduler": world.schedule} | change
    return snn.fit(world.model, snn.BCEWithLogitsLoss(), world.optimizer, **{"progress": False, **arguments})


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(np.array_equal(a, b))


class Sized:
    """An iterable with a length, and nothing in it."""

    def __len__(self) -> int:
        return 0

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Custom(snn.Module):
    def __init__(self) -> None:
        self.inner = snn.Linear(2, 1)


def _monitoring(world: World, monitor: str) -> snn.ReduceLROnPlateau:
    schedule = snn.ReduceLROnPlateau(world.optimizer)
    schedule.monitor = monitor
    return schedule


Y_NAN = Y.copy()
Y_NAN[-1] = np.nan
# What is refused, and a word of the refusal; {tmp} is an empty folder.
WRONG: dict[str, tuple[Callable[[World, Path], dict[str, Any]], type[Exception], str]] = {
    "data: []": (lambda w, tmp: {"data": []}, ValueError, "data without a single batch"),
    "data: nothing in it": (lambda w, tmp: {"data": Sized()}, ValueError, "data without a single batch"),
    "data: a generator": (
        lambda w, tmp: {"data": (b for b in [(X, Y)])},
        TypeError,
        "data of type generator",
    ),
    "data: an iterator": (lambda w, tmp: {"data": iter(w.loader)}, TypeError, "data of type"),
    "data: map": (lambda w, tmp: {"data": map(tuple, [(X, Y)])}, TypeError, "data of type map"),
    "data: less than a batch": (
        lambda w, tmp: {"data": snn.DataLoader(snn.TensorDataset(X, Y), 99, drop_last=True)},
        ValueError,
        "data without a single batch",
    ),
    "data: a wrong second batch": (lambda w, tmp: {"data": [(X, Y), (X[:, :1], Y)]}, ValueError, "last axis"),
    "data: NaN in a later batch": (lambda w, tmp: {"data": [(X, Y), (X, Y), (X, Y_NAN)]}, ValueError, "nan"),
    "data: no pair in a later batch": (lambda w, tmp: {"data": [(X, Y), (X,)]}, TypeError, "pairs"),
    "validation: []": (lambda w, tmp: {"validation": []}, ValueError, "validation without a single batch"),
    "validation: used up": (lambda w, tmp: {"validation": iter(())}, TypeError, "validation of type"),
    "validation: other features": (lambda w, tmp: {"validation": (X[:, :1], Y)}, ValueError, "last axis"),
    "validation: nothing in it": (
        lambda w, tmp: {"validation": Sized()},
        ValueError,
        "validation without a single batch",
    ),
    "monitor: a typo": (
        lambda w, tmp: {"callbacks": [snn.EarlyStopping("val_los", mode="min")], "validation": (X, Y)},
        ValueError,
        "EarlyStopping monitors 'val_los'.*did you mean 'val_loss'",
    ),
    "monitor: no validation": (
        lambda w, tmp: {"callbacks": [snn.EarlyStopping("val_loss")]},
        ValueError,
        "EarlyStopping monitors 'val_loss'.*pass validation",
    ),
    "monitor: no such metric": (
        lambda w, tmp: {"callbacks": [snn.ModelCheckpoint(tmp / "m", "val_accuracy")], "validation": (X, Y)},
        ValueError,
        "ModelCheckpoint monitors 'val_accuracy'",
    ),
    "monitor: of a plateau": (
        lambda w, tmp: {"scheduler": _monitoring(w, "val_accuracy")},
        ValueError,
        "ReduceLROnPlateau monitors 'val_accuracy'.*pass validation",
    ),
    "callbacks: used with another that is refused": (
        lambda w, tmp: {
            "callbacks": [w.stopping, snn.EarlyStopping("val_f1", mode="max")],
            "validation": (X, Y),
        },
        ValueError,
        "val_f1",
    ),
    "callbacks: no folder for a checkpoint": (
        lambda w, tmp: {"callbacks": [w.stopping], "checkpoint": tmp / "none" / "run"},
        OSError,
        "No such folder",
    ),
    "callbacks: a class": (
        lambda w, tmp: {"callbacks": [snn.EarlyStopping]},
        TypeError,
        r"callbacks\[0\]=EarlyStopping, a class",
    ),
    "callbacks: a class of ours": (lambda w, tmp: {"callbacks": [World]}, TypeError, "World, a class"),
    "callbacks: a generator": (
        lambda w, tmp: {"callbacks": (c for c in [w.stopping])},
        TypeError,
        "callbacks=<generator.*needs a list",
    ),
    "callbacks: one": (lambda w, tmp: {"callbacks": w.stopping}, TypeError, "callbacks=.*needs a list"),
    "callbacks: twice": (lambda w, tmp: {"callbacks": [w.stopping] * 2}, ValueError, "EarlyStopping twice"),
    "path: no folder": (
        lambda w, tmp: {"callbacks": [snn.ModelCheckpoint(tmp / "none" / "x")]},
        FileNotFoundError,
        "No such folder",
    ),
    "path: a folder": (lambda w, tmp: {"callbacks": [snn.ModelCheckpoint(tmp)]}, OSError, "Is a folder"),
    "path: a folder for each epoch": (
        lambda w, tmp: {"callbacks": [snn.ModelCheckpoint(f"{tmp}/{{epoch}}/x")]},
        FileNotFoundError,
        "No such folder",
    ),
    "schedule: twice": (lambda w, tmp: {"scheduler": [w.schedule] * 2}, ValueError, "StepLR twice"),
    "schedule: the class": (lambda w, tmp: {"scheduler": snn.StepLR}, TypeError, "as scheduler"),
    "schedule: of another": (
        lambda w, tmp: {"scheduler": snn.StepLR(snn.SGD(w.model.parameters(), lr=1.0), 1)},
        ValueError,
        "another optimizer",
    ),
    "schedule: too short": (
        lambda w, tmp: {
            "data": [(X, Y)] * 5,
            "scheduler": snn.OneCycleLR(copy.copy(w.optimizer), 0.1, total_steps=3),
        },
        ValueError,
        "OneCycleLR",
    ),
    "metrics: a string": (lambda w, tmp: {"metrics": "accuracy"}, TypeError, "metrics='accuracy'"),
    "metrics: a generator": (lambda w, tmp: {"metrics": (m for m in ())}, TypeError, "metrics=<generator"),
    "metrics: a class": (lambda w, tmp: {"metrics": [World]}, TypeError, r"metrics\[0\]=World, a class"),
    "clip": (lambda w, tmp: {"clip_grad_norm": -1}, ValueError, "clip_grad_norm"),
    "engine": (lambda w, tmp: {"engine": "numab"}, ValueError, "did you mean 'numba'"),
    "engine that cannot": (
        lambda w, tmp: {"engine": "numba", "data": [(X, Y), (X, Y)]},
        LoweringError,
        "batch by batch",
    ),
    "epochs": (lambda w, tmp: {"epochs": 2.0}, TypeError, "epochs"),
    "progress": (lambda w, tmp: {"progress": "no"}, TypeError, "progress"),
}


@pytest.mark.parametrize("name", WRONG)
def test_nothing_has_changed(name: str, tmp_path: Path) -> None:
    make, error, word = WRONG[name]
    world = World()
    change = make(world, tmp_path)
    before = world.held()
    with pytest.raises(error, match=word):
        fit(world, **change)
    now = world.held()
    assert [key for key in before if not same(before[key], now[key])] == []
    assert not list(tmp_path.iterdir())
    fit(world)  # and the world can be trained


def test_a_model_that_cannot_be_saved_is_found_before_it_is_trained(tmp_path: Path) -> None:
    class Mine(snn.Sequential):
        pass

    model = Mine(snn.Linear(2, 1))
    before = copy.deepcopy(model.state_dict())
    kept = snn.ModelCheckpoint(tmp_path / "m.safetensors")
    optimizer = snn.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match="Mine"):
        snn.fit(model, snn.MSELoss(), optimizer, (X, Y), 2, callbacks=[kept], progress=False)
    assert same(dict(before), dict(model.state_dict()))


def test_modes_of_single_modules_are_theirs_after_a_run() -> None:
    world = World()
    fit(world, validation=(X, Y))
    assert [module.training for module in world.model.modules()] == [True, True, True, False, True]


@pytest.mark.parametrize("what", ["data", "validation"])
def test_an_iterable_that_is_used_up_says_so(what: str) -> None:
    class Once:
        def __init__(self) -> None:
            self.batches = iter([(X, Y)])

        def __iter__(self) -> Iterator[Any]:
            return self.batches

    with pytest.raises(ValueError, match=f"{what} without a single batch.*begins anew each time"):
        fit(World(), **{what: Once()})
