"""What a running fit holds for itself: model, optimizer and callbacks take part in no other run meanwhile.

Two runs that step one parameter, in two threads or one inside a callback of the other, end in weights that
belong to neither.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from ..forks import free_at_forks, in_the_child
from ..layers import Module
from ..losses import Loss
from ..optim import Optimizer

__all__ = ["claimed", "parts"]

_LOCK = free_at_forks(threading.Lock())
_HELD: dict[int, tuple[Any, threading.Thread]] = {}  # by id: the thing, and the thread that holds it


def parts(
    model: Module, loss_fn: Loss, optimizer: Optimizer, others: Iterable[Any] = ()
) -> Iterator[tuple[Any, str]]:
    """(thing, its name in errors) of all that one run needs for itself.

    Args:
        others: schedules and callbacks; functions among them may serve several runs.
    """
    yield model, f"a model ({type(model).__name__}), which"
    for path, module in model.named_modules():
        yield module, f"a model whose module {path} ({type(module).__name__})"
    for path, parameter in model.named_parameters():
        yield parameter, f"a model whose parameter {path}"
    yield optimizer, f"an optimizer ({type(optimizer).__name__}), which"
    for parameter in optimizer._parameters():
        yield parameter, f"an optimizer ({type(optimizer).__name__}) with a parameter that"
    if not _keeps_nothing(loss_fn):
        yield loss_fn, f"{type(loss_fn).__name__}, which keeps its last call for all threads and"
    for other in others:
        if hasattr(other, "state_dict") or hasattr(other, "_begin"):
            yield other, f"{type(other).__name__}, which"


def _keeps_nothing(loss_fn: Loss) -> bool:
    """A loss whose forward and backward are ours keeps its last call for each thread by itself."""
    return type(loss_fn).forward is Loss.forward and type(loss_fn).backward is Loss.backward


@contextmanager
def claimed(owner: str, things: Iterable[tuple[Any, str]]) -> Iterator[None]:
    """Hold `things` while the block runs.

    Args:
        owner: "fit", for the error.
    Raises:
        RuntimeError: another run holds one of them; then none is held.
    """
    wanted: dict[int, tuple[Any, threading.Thread]] = {}
    me = threading.current_thread()
    with _LOCK:
        for thing, name in things:
            holder = _HELD.get(id(thing), (None, None))[1]
            if holder is None:
                wanted[id(thing)] = (thing, me)
            # A run inside a callback of another comes between two calls of the loss.
            elif not (holder is me and isinstance(thing, Loss)):
                raise RuntimeError(_refusal(owner, name, holder, me))
        _HELD.update(wanted)
    try:
        yield
    finally:
        with _LOCK:
            for key in wanted:
                _HELD.pop(key, None)


def _refusal(owner: str, name: str, holder: threading.Thread, me: threading.Thread) -> str:
    where = "further out in this thread" if holder is me else f"in the thread {holder.name}"
    return (
        f"{owner} got {name} is in use by a run that has not ended, {where}; "
        "wait for its end, or give each run its own"
    )


def _forget_other_threads() -> None:
    """In a child only the thread that forked is left, and its runs."""
    me = threading.current_thread()
    for key in [key for key, (_, thread) in _HELD.items() if thread is not me]:
        del _HELD[key]


in_the_child(_forget_other_threads)
