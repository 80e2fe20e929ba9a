"""Sweeps beyond one machine: networks trained wherever joblib's active backend runs its tasks.

    with joblib.parallel_config("dask"):          # or "ray": the cluster that you have
        many = snn.fit_many(models, loss_fn, optimizers, X, y, epochs=100)

The networks go out in chunks, a chunk a task; the data go out once; parameters, optimizer states and
histories come back into the objects that were passed in. A chunk whose worker is lost runs again elsewhere,
from what it was when it was sent: so the result is the same, bit for bit.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from .history import History
from .train.fit import DivergenceError

if TYPE_CHECKING:
    from .many import Many

__all__ = ["active_backend", "train_there"]

# What joblib runs on this machine; here threads of our own are better.
LOCAL = ("LokyBackend", "MultiprocessingBackend", "SequentialBackend", "ThreadingBackend")
CHUNKS_A_WORKER = 4  # what is lost with a worker, or waits for the slowest, is a quarter of its share
Shared: TypeAlias = "tuple[Any, ...]"


def active_backend() -> Any | None:
    """joblib's backend, if `joblib.parallel_config` has chosen one that is not of this machine."""
    parallel = sys.modules.get("joblib.parallel")
    if parallel is None:  # nobody can have chosen one
        return None
    backend, _ = parallel.get_active_backend()
    return None if type(backend).__name__ in LOCAL else backend


def train_there(backend: Any, many: Many, shared: Shared, show: Callable[[int], None]) -> None:
    """Train the networks of `many` in chunks, as tasks of `backend`.

    Args:
        shared: what `many.train_here` needs besides; the same for all.
        show: called with the number of networks done. Ctrl-C leaves the others as they were.
    """
    count = len(many.models)
    pieces = min(count, CHUNKS_A_WORKER * max(1, backend.effective_n_jobs(-1)))
    ends = [count * (i + 1) // pieces for i in range(pieces)]
    done = 0
    try:
        for first, outcomes in _results(backend, many, [0, *ends[:-1]], ends, shared):
            for i, outcome in enumerate(outcomes, first):
                _take_home(many, i, outcome)
            done += len(outcomes)
            show(done)
    except KeyboardInterrupt:
        many.interrupted = True


def _results(
    backend: Any, many: Many, starts: list[int], ends: list[int], shared: Shared
) -> Iterator[tuple[int, list[Any]]]:
    """Each chunk's first network and its outcomes, as they come."""
    from joblib import Parallel, delayed

    streams = getattr(backend, "supports_return_generator", False)
    parallel = Parallel(
        n_jobs=-1,
        backend=backend,
        batch_size=1,
        pre_dispatch="all",
        return_as="generator_unordered" if streams else "list",
    )
    data = _sent_once(backend, shared)
    with _never_alone(backend):
        yield from parallel(
            delayed(_train_chunk)(
                start, (many.models[start:end], many.optimizers[start:end], many.seeds[start:end]), data
            )
            for start, end in zip(starts, ends, strict=True)
        )


@contextmanager
def _never_alone(backend: Any) -> Iterator[None]:
    """joblib runs the tasks of a backend with one worker in this process; dask's belong to that worker."""
    if not _is_dask(backend):
        yield
        return
    backend.effective_n_jobs = lambda n_jobs: max(2, type(backend).effective_n_jobs(backend, n_jobs))
    try:
        yield
    finally:
        del backend.effective_n_jobs


def _is_dask(backend: Any) -> bool:
    return type(backend).__name__ == "DaskDistributedBackend"


def _sent_once(backend: Any, shared: Shared) -> Any:
    """What stands for `shared` in a task.

    For dask it is the result of a task: workers take it from each other, and when all that have it are
    lost, the scheduler makes it again (data that a client scatters would be gone).
    """
    if not _is_dask(backend):
        return shared
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
        return backend.client.submit(_as_it_is, shared, pure=False)


def _as_it_is(shared: Shared) -> Shared:
    return shared


def _train_chunk(first: int, chunk: tuple[Any, ...], shared: Shared) -> tuple[int, list[Any]]:
    """Train a chunk where this runs, in one thread."""
    from .many import Many, train_here

    models, optimizers, seeds = chunk
    many = Many(models, optimizers, [History() for _ in models], seeds, [None] * len(models))
    loss_fn, batches, metrics, epochs = shared
    train_here(many, loss_fn, batches, metrics, epochs, workers=1, show=lambda done: None)
    return first, [_outcome(many, i) for i in range(len(models))]


def _outcome(many: Many, i: int) -> dict[str, Any]:
    """What a training has changed, as arrays; parameters by their order."""
    error = many.diverged[i]
    return {
        "parameters": [(p.data, p.grad) for p in many.models[i].parameters()],
        "state": [dict(many.optimizers[i].state.get(p, {})) for p in many.optimizers[i]._parameters()],
        "history": many.histories[i],
        "diverged": None if error is None else (str(error), error.epoch, error.step),
    }


def _take_home(many: Many, i: int, outcome: dict[str, Any]) -> None:
    for parameter, (data, gradient) in zip(many.models[i].parameters(), outcome["parameters"], strict=True):
        parameter.data[...], parameter.grad = data, gradient
    optimizer = many.optimizers[i]
    for parameter, state in zip(optimizer._parameters(), outcome["state"], strict=True):
        if state:
            optimizer.state[parameter] = state
    many.histories[i] = outcome["history"]
    if outcome["diverged"] is not None:
        message, epoch, step = outcome["diverged"]
        many.diverged[i] = DivergenceError(message, epoch, step, many.histories[i])
