"""Nothing is left out: every op has its vjp, every vjp its case, every layer its twin, every name words."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from cases import CASES
from mistakes_of_flow import MISTAKES

import reference
import scratchnn as snn
from scratchnn import functional as F
from scratchnn.doctor import CATALOGUE

# Functions in `functional` that nothing flows back through, and why.
NO_GRADIENT = {
    "adam": "an update",
    "adam_scalars": "an update's scalars",
    "adamw": "an update",
    "adamw_scalars": "an update's scalars",
    "clip_factor": "a bound",
    "clip_value": "a bound",
    "cross_entropy_floor_of_probabilities": "a number for people",
    "dropout_factor": "a random mask",
    "hits": "a metric",
    "sgd": "an update",
    "sgd_scalars": "an update's scalars",
    "total_norm": "a bound's measure",
}
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "Linear": (3, 2),
    "Softmax": (-1,),
    "LogSoftmax": (-1,),
    "Threshold": (0.1, 0.2),
    "MLP": (3, [4], 2),
}


def functions() -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(F).items()
        if inspect.isfunction(value) and value.__module__.startswith("scratchnn.functional")
    }


def subclasses(base: type) -> list[type]:
    """Public classes that derive from `base`, base itself left out."""
    public = [getattr(snn, name) for name in snn.__all__ if isinstance(getattr(snn, name), type)]
    return [kind for kind in public if issubclass(kind, base) and kind is not base]


def test_every_op_has_its_vjp() -> None:
    names = set(functions())
    ops = {name for name in names if not name.endswith("_vjp")}
    assert {op for op in ops if f"{op}_vjp" not in names} == set(NO_GRADIENT)
    assert {name.removesuffix("_vjp") for name in names - ops} <= ops


def test_every_vjp_has_its_case() -> None:
    vjps = {name.removesuffix("_vjp") for name in functions() if name.endswith("_vjp")}
    assert vjps == {case.name for case in CASES}


def test_the_words_of_functional_are_exported() -> None:
    """A formula that is not in some __all__ would escape the two tests above."""
    import importlib
    import pkgutil

    for info in pkgutil.iter_modules(F.__path__):
        if info.name in ("vocabulary",):
            continue
        module = importlib.import_module(f"scratchnn.functional.{info.name}")
        hidden = [
            name
            for name, value in vars(module).items()
            if name.endswith("_vjp") and inspect.isfunction(value) and name not in vars(F)
        ]
        assert not hidden, f"{info.name} keeps {hidden} to itself"


@pytest.mark.parametrize("kind", subclasses(snn.Module), ids=lambda kind: kind.__name__)
def test_every_layer_has_its_twin(kind: type) -> None:
    twin = reference.twin(kind(*ARGUMENTS.get(kind.__name__, ())))
    expected = "Sequential" if kind is snn.MLP else kind.__name__
    assert type(twin).__name__ == expected


@pytest.mark.parametrize("kind", subclasses(snn.Loss), ids=lambda kind: kind.__name__)
def test_every_loss_has_its_twin(kind: type) -> None:
    assert type(reference.twin_loss(kind())).__name__ == kind.__name__


@pytest.mark.parametrize("kind", subclasses(snn.Optimizer), ids=lambda kind: kind.__name__)
def test_every_optimizer_has_its_twin(kind: type) -> None:
    model = snn.Linear(2, 1)
    twin = reference.twin_optimizer(kind(model.parameters(), lr=0.1), model, reference.twin(model))
    assert type(twin).__name__ == kind.__name__


def test_every_mistake_has_a_network_that_makes_it() -> None:
    assert set(MISTAKES) == set(CATALOGUE)


# ---- words ------------------------------------------------------------------------------------


def public_things() -> Iterator[tuple[str, Any]]:
    for package in (snn, F, reference):
        names = getattr(package, "__all__", [n for n in vars(package) if not n.startswith("_")])
        for name in names:
            value = getattr(package, name)
            if inspect.ismodule(value) or inspect.isfunction(value) or isinstance(value, type):
                yield f"{package.__name__}.{name}", value


def test_every_public_name_has_its_docstring() -> None:
    silent = [name for name, value in public_things() if not (inspect.getdoc(value) or "").strip()]
    assert not silent


def test_every_public_method_has_its_docstring() -> None:
    silent = []
    for name, value in public_things():
        if not isinstance(value, type):
            continue
        for method, member in inspect.getmembers(value):
            ours = getattr(member, "__module__", "") or ""
            if (
                method.startswith("_")
                or not callable(member)
                or not ours.startswith(("scratchnn", "reference"))
            ):
                continue
            if not (inspect.getdoc(member) or "").strip():
                silent.append(f"{name}.{method}")
    assert not silent
