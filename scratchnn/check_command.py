"""`scratchnn check FILE.py:NAME`: is the backward pass in this file right, and if not, what is wrong?"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from . import losses
from .checks import Array
from .doctor import Diagnosis, diagnose
from .gradcheck.check import METHODS, make_subject, quietly
from .gradcheck.world import World
from .layers import Module
from .losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, Loss, NLLLoss

__all__ = ["CheckError", "check"]

OPTIONS = ("loss_fn", "target", "constants")  # of an answer
ROWS = 5  # a batch size that is no other number around
WIDTHS = (4, 3, 2, 1)  # tried as the input's width where the parameters do not tell it


class CheckError(Exception):
    """The command line, or the file it names, cannot be checked; says what to write instead."""


def check(
    place: str, shapes: Sequence[str] = (), loss: str | None = None, method: str = "auto", seed: int = 0
) -> Diagnosis:
    """Load `FILE.py:NAME`, find inputs for it, and diagnose it.

    NAME is a Module or a class of one that needs no arguments; a loss; a function `op` beside which
    the file has `op_vjp`; a pair (op, op_vjp); or a function without arguments that returns what
    `diagnose` takes: (subject, *inputs), or a dict with "subject", "inputs", "loss_fn", "target" and
    "constants".

    Args:
        shapes: of the inputs, as "5x3"; drawn at random. Without, (5, D) with D from the parameters.
        loss: the name of a loss in scratchnn or in the file, put after a Module.
    Raises:
        CheckError: no such file or name, or no inputs that the forward takes.
    """
    path, _, name = place.rpartition(":")
    if not path or not name.isidentifier():
        raise CheckError(f"got {place!r}; write FILE.py:NAME, such as layers.py:MyLayer")
    if method not in METHODS:
        raise CheckError(f"got --method {method!r}; it must be one of {', '.join(METHODS)}")
    file = _load(Path(path))
    rng = np.random.default_rng(seed)
    subject, given, options = _subject(file, name)
    inputs = given if given is not None else _inputs(subject, [_shape(s) for s in shapes], rng)
    if loss is not None:
        options["loss_fn"] = _loss(file, loss)
        options["target"] = _target(options["loss_fn"], _forward(subject, inputs), rng)
    return diagnose(subject, *inputs, method=method, seed=seed, **options)


def _load(path: Path) -> ModuleType:
    if not path.is_file():
        raise CheckError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"_checked_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise CheckError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    # What it imports from beside itself is found, as when it is run.
    sys.path.insert(0, str(path.resolve().parent))
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise CheckError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.pop(0)
    return module


def _subject(file: ModuleType, name: str) -> tuple[Any, Any, dict[str, Any]]:
    """(what to check, its inputs if the file gives them, loss_fn and target if it gives them)."""
    if not hasattr(file, name):
        known = [n for n, v in vars(file).items() if not n.startswith("_") and callable(v)]
        mine = [n for n in known if getattr(getattr(file, n), "__module__", "") == file.__name__]
        raise CheckError(f"{file.__file__} has no {name!r}; it has {', '.join(mine) or 'nothing to check'}")
    found = getattr(file, name)
    if name.endswith("_vjp") and hasattr(file, name.removesuffix("_vjp")):
        return (getattr(file, name.removesuffix("_vjp")), found), None, {}
    if hasattr(file, f"{name}_vjp"):
        return (found, getattr(file, f"{name}_vjp")), None, {}
    if isinstance(found, type):
        return _instance(found), None, {}
    if inspect.isfunction(found):
        return _answer(name, found)
    return found, None, {}


def _instance(kind: type) -> Any:
    if "torch" in sys.modules and not issubclass(kind, (Module, Loss)):
        import torch

        if issubclass(kind, torch.autograd.Function):
            return kind
    try:
        return kind()
    except TypeError as error:
        raise CheckError(
            f"{kind.__name__}() needs arguments ({error}); in the file, write a function without arguments "
            f"that returns ({kind.__name__}(...), x), and name that"
        ) from error


def _answer(name: str, function: Callable[..., Any]) -> tuple[Any, Any, dict[str, Any]]:
    required = [p for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    if required:
        raise CheckError(f"beside the function {name} there is no {name}_vjp; the two are checked together")
    answer = function()
    if isinstance(answer, dict):
        unknown = set(answer) - {"subject", "inputs", *OPTIONS}
        if unknown or "subject" not in answer:
            raise CheckError(
                f'{name}() returned a dict with {sorted(answer)}; it needs "subject" and "inputs"'
            )
        options = {k: answer[k] for k in OPTIONS if k in answer}
        inputs = answer.get("inputs")
        return (
            answer["subject"],
            inputs if inputs is None or isinstance(inputs, tuple) else (inputs,),
            options,
        )
    if (
        isinstance(answer, tuple)
        and answer
        and not (len(answer) == 2 and all(map(inspect.isfunction, answer)))
    ):
        return answer[0], tuple(answer[1:]), {}
    return answer, None, {}


# ---- inputs -----------------------------------------------------------------------------------


def _shape(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(x\d+)*", text):
        raise CheckError(f"got --input {text!r}; write a shape such as 5x3")
    return tuple(int(n) for n in text.split("x"))


def _inputs(subject: Any, shapes: list[tuple[int, ...]], rng: np.random.Generator) -> tuple[Any, ...]:
    if isinstance(subject, Loss):
        prediction = _prediction(subject, shapes[0] if shapes else (ROWS, 4), rng)
        return prediction, _target(subject, prediction, rng)
    if shapes:
        return tuple(rng.standard_normal(shape) for shape in shapes)
    complaint = ""
    for inputs in _guesses(subject, rng):
        try:
            _forward(subject, inputs)
        except Exception as error:  # a stranger's forward says no in its own way
            complaint = complaint or f"{type(error).__name__}: {error}"
        else:
            return inputs
    raise CheckError(
        f"no input was found that the forward takes ({complaint}); give shapes, as in --input 5x3, "
        "once for each array"
    )


def _guesses(subject: Any, rng: np.random.Generator) -> Iterator[tuple[Array, ...]]:
    """Rows of floats of every width that the arrays suggest, then columns, then indices."""
    forward = subject[0] if isinstance(subject, tuple) else getattr(subject, "forward", subject)
    count = 1 if isinstance(subject, type) or _of_torch(subject) else max(1, _required(forward))
    sizes = list(WIDTHS)
    if isinstance(subject, Module) or _of_torch(subject):
        sizes = _lengths(p.shape for p in subject.parameters())
    elif not isinstance(subject, tuple):
        places = World(subject, (), ()).places()
        sizes = _lengths(np.shape(p.thing) for p in places if p.kind in ("array", "list"))
    for size in sizes:
        yield tuple(rng.standard_normal((ROWS, size)) for _ in range(count))
    if isinstance(subject, tuple):
        return
    for size in sizes:
        yield tuple(rng.standard_normal((size, ROWS)) for _ in range(count))
    yield tuple(rng.integers(0, min(sizes), ROWS) for _ in range(count))


def _of_torch(subject: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(subject, torch.nn.Module)


def _required(function: Any) -> int:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return 1
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in kinds for p in parameters)


def _lengths(shapes: Iterable[Sequence[int]]) -> list[int]:
    """(out, in) or (in, out): the input's width is one of the parameters' lengths."""
    return list(dict.fromkeys([*(n for shape in shapes for n in reversed(tuple(shape))), *WIDTHS]))


def _forward(subject: Any, inputs: tuple[Any, ...]) -> Array:
    with quietly():
        made = make_subject(subject, inputs, None, None)
        return made.output(made.values)


def _loss(file: ModuleType, name: str) -> Any:
    found = getattr(file, name, getattr(losses, name, None))
    if found is None:
        raise CheckError(f"there is no loss {name!r}, neither in the file nor in scratchnn")
    return found() if isinstance(found, type) else found


def _prediction(loss_fn: Any, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if isinstance(loss_fn, BCELoss):
        return rng.uniform(0.05, 0.95, shape)
    if isinstance(loss_fn, NLLLoss):
        return np.log(rng.dirichlet(np.ones(shape[-1]), shape[:-1]))
    return rng.standard_normal(shape)


def _target(loss_fn: Any, prediction: Array, rng: np.random.Generator) -> Array:
    """A random target that suits the loss."""
    if isinstance(loss_fn, (CrossEntropyLoss, NLLLoss)):
        classes = prediction.shape[min(1, prediction.ndim - 1)]
        return rng.integers(0, classes, prediction.shape[:1] + prediction.shape[2:])
    if isinstance(loss_fn, (BCELoss, BCEWithLogitsLoss)):
        return rng.integers(0, 2, prediction.shape).astype(np.float64)
    return rng.standard_normal(prediction.shape)
