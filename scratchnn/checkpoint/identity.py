"""Which run is this? What a program says when `fit` begins, as plain values that a file can keep.

Large things (data, weights, the states of generators) are digests: two runs can be told apart, and the error
says by what, but not by how much.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import Array
from ..data import DataLoader
from ..layers import Dropout
from ..random import Generator, default_generator

if TYPE_CHECKING:
    from ..train.fit import FitState
    from ..train.regime import Regime

__all__ = ["differences", "generators_of", "refuse_strangers", "settings_of", "start_of", "told"]

DIGEST = "sha256:"
CLASS = ""  # among the facts of a thing, its class
CHUNK = 2**24  # bytes of an array in pieces, which are copied where it is read in another order
WORDS_OF_A_VALUE = 60  # shown of one in an error
NOT_COMPARED = ("training", "path")  # fit sets the one; where a callback writes does not change the run


# ---- what a run consists of ------------------------------------------------------------------------


def generators_of(batches: Any, held_out: Any) -> list[Generator]:
    """What a run draws from: the default generator, and those of its loaders."""
    loaders = [source.data for source in (batches, held_out) if source is not None]
    drawn = [data.generator for data in loaders if isinstance(data, DataLoader)]
    return [default_generator, *(generator for generator in drawn if generator is not None)]


def refuse_strangers(what: str, state: FitState) -> None:
    """Raise ValueError where the optimizer moves parameters that the model has not."""
    own = {id(p) for p in state.model.parameters()}
    if any(id(p) not in own for group in state.optimizer.param_groups for p in group["params"]):
        raise ValueError(
            f"fit got a {what} and an optimizer with parameters that are not the model's; "
            "they would not be kept"
        )


# ---- as a recording keeps it, for people too ------------------------------------------------------


def settings_of(state: FitState, regime: Regime, batches: Any) -> dict[str, Any]:
    """What a run was told, for people and for comparison."""
    return {
        "dtype": next(iter(state.model.parameters())).dtype.name,
        "model": repr(state.model).splitlines(),
        "loss": _described(state.loss_fn),
        "optimizer": type(state.optimizer).__name__,
        "schedulers": [type(schedule).__name__ for schedule in regime.schedules()],
        "draws": any(isinstance(m, Dropout) and 0 < m.p < 1 for m in state.model.modules()),
        "clip_grad_norm": regime.max_norm,
        "clip_grad_value": regime.max_value,
        "data": read_data(batches),
    }


def read_data(batches: Any) -> Any:
    """What must be known to draw the batches again, and a digest of the data."""
    rows, loader = batches.rows(), batches.loader
    if rows is None or type(loader) not in (DataLoader, type(None)):
        return "batches of its own"
    if loader is None:
        return {"rows": len(rows[0]), "steps": 1, "batch_size": None, "digest": _digest(rows)}
    return {
        "rows": len(rows[0]),
        "steps": len(loader),
        "batch_size": loader.batch_size,
        "shuffle": loader.shuffle,
        "drop_last": loader.drop_last,
        "generator": _whose(loader.generator),
        "digest": _digest(rows),
    }


# ---- as a checkpoint keeps it ---------------------------------------------------------------------


def told(
    state: FitState,
    regime: Regime,
    batches: Any,
    held_out: Any,
    metrics: Iterable[str],
    remembering: Sequence[Any],
) -> dict[str, Any]:
    """What a run was told, apart from what `start_of` says and from the number of epochs."""
    model, optimizer = state.model, state.optimizer
    layers = {f"layer {path}" if path else "model": _facts(one) for path, one in model.named_modules()}
    parameters = {f"parameter {n}": f"{v.dtype.name} {v.shape}" for n, v in model.state_dict().items()}
    return {
        **layers,
        **parameters,
        "loss": _facts(state.loss_fn),
        "optimizer": type(optimizer).__name__,
        "number of parameters in a group": [len(group["params"]) for group in optimizer.param_groups],
        "schedules": [f"{type(one).__name__} every {one.every}" for one in regime.schedules()],
        "clip_grad_norm": regime.max_norm,
        "clip_grad_value": regime.max_value,
        "data": _data(batches),
        "validation": {"source": "none"} if held_out is None else _data(held_out),
        "metrics": list(metrics),
        **{f"callback {i}": _callback(one) for i, one in enumerate(remembering)},
        "engine": state.history.engine,
    }


def start_of(
    model: Mapping[str, Array],
    optimizer: Mapping[str, Any],
    schedules: Sequence[tuple[str, Mapping[str, Any]]],
    generators: Sequence[Array],
) -> dict[str, Any]:
    """Where a run begins: all that its steps move, by name.

    Args:
        model, optimizer: state dicts. schedules: (class, state dict).
        generators: states, the default one's first.
    """
    found: dict[str, Any] = {"initial weights": _digest(model.values())}
    groups = optimizer["param_groups"]
    for i, group in enumerate(groups):
        suffix = "" if len(groups) == 1 else f" of group {i}"
        found |= {f"{name}{suffix}": _plain(v) for name, v in group.items() if name != "params"}
    found["optimizer's state"] = _digest([optimizer["state"]])
    for i, (name, state) in enumerate(schedules):
        label = name if len(schedules) == 1 else f"{name} (schedule {i})"
        found |= {f"{label}'s {entry}": _plain(v) for entry, v in state.items()}
    for i, stream in enumerate(generators):
        whose = "default generator" if i == 0 else "loader's generator" if i == 1 else f"generator {i}"
        found[f"state of the {whose}"] = _digest([stream])
    return found


def differences(ours: Any, theirs: Any, label: str = "") -> Iterator[str]:
    """In words, what of two descriptions is not the same."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if ours.get(CLASS) != theirs.get(CLASS):
            yield f"{label} is {ours.get(CLASS)}, was {theirs.get(CLASS)}"
            return
        for name in dict.fromkeys([*ours, *theirs]):
            where = f"{label}'s {name}" if label else str(name)
            yield from differences(ours.get(name), theirs.get(name), where)
    elif _is_digest(ours) and _is_digest(theirs):
        if ours != theirs:
            yield f"{label} differ" if label.endswith(("weights", "numbers")) else f"{label} differs"
    elif not _same(ours, theirs):
        yield f"{label} is {_short(ours)}, was {_short(theirs)}"


def _same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float) and math.isnan(ours):
        return math.isnan(theirs)
    return type(ours) is type(theirs) and bool(ours == theirs)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and value.startswith(DIGEST)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get(CLASS, "another thing"))
    text = "other numbers" if _is_digest(value) else "none" if value is None else str(value)
    return text if len(text) <= WORDS_OF_A_VALUE else f"{text[:WORDS_OF_A_VALUE]}..."


# ---- the parts ------------------------------------------------------------------------------------


def _data(batches: Any) -> dict[str, Any]:
    """What is known of data: all of arrays and lists of batches, the settings of a loader, else the class."""
    source, arrays = batches.data, batches.rows()
    found: dict[str, Any] = {"source": type(source).__name__}
    if isinstance(source, DataLoader):
        found |= {
            "rows": len(source.dataset),
            "batch_size": source.batch_size,
            "shuffle": source.shuffle,
            "drop_last": source.drop_last,
            "generator": _whose(source.generator),
        }
    elif arrays is not None:
        found["source"] = "pair"
    arrays = arrays or _arrays(source)
    if arrays is not None:
        found["shapes"] = [list(array.shape) for array in arrays[:2]]
        found["numbers"] = _digest(arrays)
    return found


def _arrays(source: Any) -> list[Array] | None:
    """The arrays of data; None where they are not at hand, and asking for them may change something."""
    if isinstance(source, DataLoader):
        tensors = getattr(source.dataset, "tensors", None)
        return None if tensors is None else list(tensors)
    if isinstance(source, (list, tuple)) and all(isinstance(batch, (list, tuple)) for batch in source):
        parts = [part for batch in source for part in batch]
        return parts if all(isinstance(part, np.ndarray) for part in parts) else None
    return None


def _callback(callback: Any) -> dict[str, Any]:
    """Its class, and what the library's own were told; a custom one may keep anything in its attributes."""
    kind = type(callback)
    if kind.__module__.partition(".")[0] != __name__.partition(".")[0]:
        return {CLASS: kind.__name__}
    state = callback.state_dict()
    return {name: value for name, value in _facts(callback).items() if name not in state}


def _facts(thing: Any) -> dict[str, Any]:
    """The class of a layer, loss or callback, and its numbers, which its repr may leave out."""
    found: dict[str, Any] = {CLASS: type(thing).__name__}
    for name, value in vars(thing).items():
        if not name.startswith("_") and name not in NOT_COMPARED and _is_plain(value):
            found[name] = _plain(value)
    inner = getattr(thing, "base", None)
    return found | ({"base": _facts(inner)} if hasattr(inner, "__dict__") else {})


def _described(thing: Any) -> str:
    """The facts of a loss, as text."""
    facts = _facts(thing)
    listed = [f"{name}={value}" for name, value in facts.items() if name != CLASS]
    return f"{facts[CLASS]}({', '.join(listed)})"


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str, np.ndarray, np.generic))


def _plain(value: Any) -> Any:
    """`value` as lists, dicts, numbers and text; a large array as a digest, anything else by its class."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.size <= 64):
        return value.tolist()
    if isinstance(value, np.ndarray):
        return _digest([value])
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value if value is None or _is_plain(value) else type(value).__name__


def _whose(generator: Generator | None) -> str | None:
    return None if generator is None else "default" if generator is default_generator else "own"


def _digest(values: Iterable[Any]) -> str:
    """Of plain values and arrays, all their bits."""
    found = hashlib.sha256()
    for value in values:
        _feed(found, value)
    return DIGEST + found.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        digest.update(b"{%d" % len(value))
        for name, entry in value.items():
            _feed(digest, name)
            _feed(digest, entry)
    elif isinstance(value, (list, tuple)):
        digest.update(b"[%d" % len(value))
        for entry in value:
            _feed(digest, entry)
    elif isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        digest.update(f"{array.dtype} {array.shape}".encode())
        rows = array.reshape(1) if array.ndim == 0 else array
        at_once = len(rows) if rows.flags.c_contiguous else max(1, CHUNK // max(1, rows[:1].nbytes))
        for start in range(0, len(rows), max(1, at_once)):
            digest.update(np.ascontiguousarray(rows[start : start + at_once]).reshape(-1).data)
    else:
        digest.update(f"{type(value).__name__} {value!r}\n".encode())
