"""Many networks at once: `fit_many` trains thousands of small networks over all cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .checks import Array, any_array, as_flag, as_kind, as_list, as_mapping, as_seed, positive_int
from .checks.memory import sharing
from .cluster import active_backend, train_there
from .data import DataLoader, TensorDataset
from .forks import LOADING
from .history import History
from .layers import Module, Parameter
from .losses import Loss
from .optim import Optimizer
from .random import Generator, default_generator
from .train.claims import claimed, parts
from .train.door import Metric, check_arguments, named_metrics, probe
from .train.fit import DivergenceError, FitState, run_epochs
from .train.modes import in_mode
from .train.numpy_engine import Batches, Metrics
from .train.progress import notice
from .train.source import at_the_door

__all__ = ["Many", "fit_many"]

SEED_MASK = 2**63 - 1  # seeds that fit an int64, as torch draws them
WAIT_SECONDS = 0.1  # how often the waiting thread looks for Ctrl-C


@dataclass
class Many:
    """What `fit_many` leaves behind, in the order of its models.

    Attributes:
        models, optimizers: trained, the ones that were passed in.
        histories: one a network; of a network that was not reached, an empty one.
        seeds: one a network.
        diverged: the DivergenceError that ended a network's training, or None.
        interrupted: Ctrl-C came before all were done.
    """

    models: list[Module]
    optimizers: list[Optimizer]
    histories: list[History]
    seeds: list[int]
    diverged: list[DivergenceError | None]
    interrupted: bool = False
    labels: dict[str, list[Any]] = field(default_factory=dict)

    @property
    def results(self) -> dict[str, Array]:
        """One row a network, one array a column, as scikit-learn's `cv_results_`."""
        columns: dict[str, Array] = {
            f"param_{name}": np.asarray(values) for name, values in self.labels.items()
        }
        columns["seed"] = np.asarray(self.seeds)
        columns["epochs"] = np.array([history.epochs for history in self.histories])
        columns["train_loss"] = np.array([_last(history.train_loss) for history in self.histories])
        for name in sorted({name for history in self.histories for name in history.metrics}):
            columns[name] = np.array([_last(history.metrics.get(name, [])) for history in self.histories])
        columns["seconds"] = np.array([history.seconds for history in self.histories])
        columns["diverged"] = np.array([error is not None for error in self.diverged])
        ranks = np.argsort(np.argsort(np.nan_to_num(columns["train_loss"], nan=np.inf), kind="stable"))
        columns["rank_train_loss"] = ranks + 1
        return columns

    def table(self) -> Any:
        """`results` as a pandas DataFrame, or as they are where pandas is not installed."""
        try:
            import pandas
        except ImportError:
            return self.results
        return pandas.DataFrame(self.results)


def _last(values: list[float]) -> float:
    return values[-1] if values else np.nan


def fit_many(
    models: Sequence[Module],
    loss_fn: Loss,
    optimizers: Sequence[Optimizer],
    X: Any,
    y: Any,
    *,
    epochs: int,
    batch_size: int | None = None,
    shuffle: bool = True,
    drop_last: bool = False,
    seeds: Sequence[int] | None = None,
    metrics: Sequence[Metric] = (),
    threads: int | None = None,
    progress: bool = True,
    labels: dict[str, list[Any]] | None = None,
) -> Many:
    """Train many networks on the same data, each with its own optimizer, over several threads.

    Network i gets the run that it would get alone, bit for bit and for any number of threads:

        snn.manual_seed(seeds[i])
        snn.fit(models[i], loss_fn, optimizers[i],
                snn.DataLoader(snn.TensorDataset(X, y), batch_size, shuffle), epochs, engine="numba")

    Args:
        models: of one dtype, sizes as they like, without a parameter in common. optimizers: one for each.
        X, y: the data, as `fit` takes them.
        batch_size: None for one full batch an epoch.
        shuffle, drop_last: as DataLoader.
        seeds: one int for each network, for its batches and dropout masks; None draws them from the
            default generator.
        metrics: "accuracy", measured while training.
        threads: None for one a core. In `joblib.parallel_config("dask")`, or another backend of a cluster,
            the networks are trained there, in chunks: see docs/scaling.md.
        progress: show a bar, if the output is a terminal.
        labels: columns of the table of results: {name: one value a network}.
    Returns:
        Many. A network that diverges keeps its last good parameters and does not stop the others. Ctrl-C
        stops within a second and returns what there is, with `interrupted` set.
    Raises:
        LoweringError: a network that the compiled engine cannot express.
        TypeError, ValueError, RuntimeError: as `fit`, before anything is trained; networks that share a
            parameter, or its memory.
    """
    models = as_list("fit_many", "models", models, "networks")
    optimizers = as_list("fit_many", "optimizers", optimizers, "optimizers")
    if not models or len(models) != len(optimizers):
        raise ValueError(
            f"fit_many got {len(models)} models and {len(optimizers)} optimizers; give each model its own"
        )
    if len({id(o) for o in optimizers}) < len(optimizers) or len({id(m) for m in models}) < len(models):
        raise ValueError("fit_many got a model or an optimizer twice; give each model its own")
    for i, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
        as_kind("fit_many", f"models[{i}]", model, Module, "a scratchnn Module")
        as_kind(
            "fit_many", f"optimizers[{i}]", optimizer, Optimizer, "an optimizer over the model's parameters"
        )
        check_arguments(model, loss_fn, optimizer, epochs, "numba")
    _check_apart(models, optimizers)
    if seeds is not None:
        seeds = [as_seed("fit_many", f"seeds[{i}]", s) for i, s in enumerate(_each("seeds", seeds, models))]
    columns = as_mapping(
        "fit_many", "labels", {} if labels is None else labels, "a dict {name: one value a network}"
    )
    columns = {name: _each(f"labels[{name!r}]", values, models) for name, values in columns.items()}
    workers = _cores() if threads is None else positive_int("fit_many", "threads", threads)
    tell = notice(as_flag("fit_many", "progress", progress))
    shuffle, drop_last = as_flag("fit_many", "shuffle", shuffle), as_flag("fit_many", "drop_last", drop_last)
    x, target = any_array("fit_many", "X", X, "biuf"), any_array("fit_many", "y", y, "biuf")
    if not x.ndim or not target.ndim or len(x) != len(target):
        raise ValueError(
            f"fit_many got X of shape {x.shape} and y of shape {target.shape}; each row of X needs one of y"
        )
    data = (X, y)
    if batch_size is not None:
        data = DataLoader(TensorDataset(X, y), batch_size, shuffle, drop_last=drop_last)  # type: ignore[assignment]
    dtypes = {next(iter(model.parameters())).dtype for model in models}
    if len(dtypes) > 1:
        raise TypeError(f"fit_many got models of {' and '.join(map(str, dtypes))}; make them one dtype")
    (dtype,) = dtypes
    pairs = list(zip(models, optimizers, strict=True))
    with claimed(
        "fit_many", (part for model, optimizer in pairs for part in parts(model, loss_fn, optimizer))
    ):
        batches = at_the_door(data, loss_fn, dtype, "X and y").kept()
        outputs = [probe(model, loss_fn, batches) for model in models]
        named = named_metrics(metrics, loss_fn, [(batches, outputs[0])])

        with LOADING:
            from .lowering import lower
            from .train.numba_engine import measured_in_call, rows_to_compile

        measured_in_call(named)
        for model, optimizer in pairs:
            lower(model, loss_fn, optimizer, *rows_to_compile(batches))
        if seeds is None:
            seeds = (default_generator.words64(len(models)) & np.uint64(SEED_MASK)).tolist()
        many = Many(models, optimizers, [History() for _ in models], list(seeds), [None] * len(models))
        many.labels = columns
        backend = active_backend()
        with _progress(progress, len(models)) as show:
            if backend is not None:
                train_there(backend, many, (loss_fn, batches, named, epochs), show)
            else:
                train_here(many, loss_fn, batches, named, epochs, workers, show, tell)
    return many


def _each(name: str, values: Any, models: list[Module]) -> list[Any]:
    """The argument `name` as a list, with one value for each network."""
    found = as_list("fit_many", name, values, "one value for each model")
    if len(found) != len(models):
        raise ValueError(f"fit_many got {len(found)} {name} for {len(models)} models; give each model one")
    return found


def _check_apart(models: list[Module], optimizers: list[Optimizer]) -> None:
    """Raise ValueError where two of the networks would move one parameter, or parameters of shared memory."""
    owner: dict[Parameter, tuple[int, str]] = {}
    for i, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
        own = [(f"{path} of model {i}", p) for path, p in model.named_parameters()]
        own += [(f"a parameter of optimizer {i}", p) for p in optimizer._parameters()]
        for name, parameter in own:
            first, theirs = owner.setdefault(parameter, (i, name))
            if first != i:
                raise ValueError(
                    f"fit_many got {theirs} and {name}, which are the same Parameter; "
                    "give each model, with its optimizer, its own"
                )
    shared = sharing([parameter.data for parameter in owner])
    if shared is not None:
        one, other = (list(owner.values())[i] for i in shared)
        if one[0] != other[0]:
            raise ValueError(
                f"fit_many got {one[1]} and {other[1]}, whose data share memory; "
                "give each model a copy, by p.data = p.data.copy()"
            )


def train_here(
    many: Many,
    loss_fn: Loss,
    batches: Batches,
    metrics: Metrics,
    epochs: int,
    workers: int,
    show: Callable[[int], None],
    tell: Callable[[str], None] = lambda text: None,
) -> None:
    """Train the networks of `many`, all checked already, in threads of this process.

    Args:
        show: called with the number of networks done. tell: with a line of text before a compilation.
    """
    from .engine.run import kernel
    from .train.numba_engine import NumbaEngine

    # Compiled by one thread, for all: two that compile one function get in each other's way.
    kernel(next(iter(many.models[0].parameters())).dtype, tell)
    with LOADING:
        from .engine.orders import compile_now

        compile_now()
    stop = threading.Event()

    def train(i: int) -> None:
        if stop.is_set():
            return
        model, optimizer = many.models[i], many.optimizers[i]
        generator = Generator().manual_seed(many.seeds[i])
        state = FitState(model, loss_fn, optimizer, many.histories[i], epochs)
        state.history.engine, state.history.reason = "numba", "fit_many trains with the compiled engine"
        try:
            with in_mode(model, training=True), np.errstate(all="ignore"):
                runner = NumbaEngine(model, loss_fn, optimizer, batches, metrics, generator)
                run_epochs(runner, state, None, metrics, (), lambda: _leave(stop))
        except DivergenceError as error:
            many.diverged[i] = error
        except _Stopped:
            pass

    _in_threads(train, len(many.models), workers, stop, many, show)


class _Stopped(Exception):
    """Ctrl-C, in a thread that works."""


def _leave(stop: threading.Event) -> None:
    if stop.is_set():
        raise _Stopped


def _in_threads(
    train: Callable[[int], None],
    count: int,
    workers: int,
    stop: threading.Event,
    many: Many,
    show: Callable[[int], None],
) -> None:
    """Every network once; Ctrl-C is heard by the thread that waits."""
    with ThreadPoolExecutor(workers) as pool:
        pending: set[Future[None]] = set()
        try:
            pending = {pool.submit(train, i) for i in range(count)}
            done = 0
            while pending:
                finished, pending = wait(pending, WAIT_SECONDS, FIRST_COMPLETED)
                for future in finished:
                    future.result()
                done += len(finished)
                show(done)
        except KeyboardInterrupt:
            many.interrupted = True
        finally:
            stop.set()
            for future in pending:
                future.cancel()


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@contextmanager
def _progress(wanted: bool, total: int) -> Iterator[Callable[[int], None]]:
    if wanted:
        from rich.console import Console

        console = Console(stderr=True)
        if console.is_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("networks"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            with Progress(*columns, console=console) as bar:
                task = bar.add_task("networks", total=total)
                yield lambda done: bar.update(task, completed=done)
            return
    yield lambda done: None
