"""Sweeps on a cluster: a real one of processes, one of which is killed in the middle."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from dask.distributed import Client, LocalCluster
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV

import scratchnn as snn
from scratchnn.checks import Array
from scratchnn.cluster import active_backend

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of a killed worker


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with LocalCluster(**options, silence_logs=50) as cluster, Client(cluster) as client:
        yield client


def data(rows: int = 400) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, 8)).astype(np.float32)
    return X, (X[:, :1] * X[:, 1:2] > 0).astype(np.float32)


def sweep(count: int, epochs: int, rates: Any = (0.01,), rows: int = 400, **options: Any) -> snn.Many:
    """Networks of different sizes, with dropout: every one needs its own random numbers."""
    snn.manual_seed(1)
    X, y = data(rows)
    models: list[snn.Module] = []
    for i in range(count):
        hidden = 4 + i % 5
        models.append(
            snn.Sequential(snn.Linear(8, hidden), snn.Tanh(), snn.Dropout(0.1), snn.Linear(hidden, 1))
        )
    optimizers = [snn.Adam(m.parameters(), lr=rates[i % len(rates)]) for i, m in enumerate(models)]
    return snn.fit_many(
        models, snn.BCEWithLogitsLoss(), optimizers, X, y, epochs=epochs, batch_size=32, metrics=["accuracy"],
        progress=False, labels={"lr": [rates[i % len(rates)] for i in range(count)]}, **options,
    )  # fmt: skip


def same(here: snn.Many, there: snn.Many) -> None:
    """Bit for bit: parameters, gradients, optimizer states, histories, the table."""
    for i in range(len(here.models)):
        for a, b in zip(here.models[i].parameters(), there.models[i].parameters(), strict=True):
            assert a.data.tobytes() == b.data.tobytes()
            assert (a.grad is None) == (b.grad is None)
            assert a.grad is None or b.grad is None or a.grad.tobytes() == b.grad.tobytes()
            mine, yours = here.optimizers[i].state[a], there.optimizers[i].state[b]
            assert mine.keys() == yours.keys()
            assert all(np.asarray(mine[k]).tobytes() == np.asarray(yours[k]).tobytes() for k in mine)
        assert here.histories[i].step_losses.tobytes() == there.histories[i].step_losses.tobytes()
        assert here.histories[i].train_loss == there.histories[i].train_loss
        assert here.histories[i].metrics == there.histories[i].metrics
        assert here.histories[i].engine == there.histories[i].engine == "numba"
    assert here.seeds == there.seeds
    assert here.results.keys() == there.results.keys()
    for name in here.results.keys() - {"seconds"}:
        np.testing.assert_array_equal(here.results[name], there.results[name])


def process_of(client: Client) -> dict[str, int]:
    """{worker's address: its process}."""
    return dict(client.run(os.getpid))


def test_equal_to_the_run_here(client: Client) -> None:
    here = sweep(19, 3)
    assert active_backend() is None
    with joblib.parallel_config("dask"):
        assert active_backend() is not None
        there = sweep(19, 3)
    same(here, there)
    with joblib.parallel_config("threading"):
        assert active_backend() is None


def test_the_workers_do_it(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is trained in this process, and the data go out once."""

    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError("trained here")

    monkeypatch.setattr("scratchnn.many.train_here", refuse)
    sent: list[str] = []
    submit = Client.submit

    def note(self: Client, function: Any, *arguments: Any, **named: Any) -> Any:
        sent.append(getattr(function, "__name__", "a chunk"))
        return submit(self, function, *arguments, **named)

    monkeypatch.setattr(Client, "submit", note)
    with joblib.parallel_config("dask"):
        there = sweep(24, 2)
    assert sorted(sent) == ["_as_it_is"] + 8 * ["a chunk"]  # four for each of two workers
    assert all(history.epochs == 2 for history in there.histories)


def test_a_cluster_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """joblib would run the tasks of a single worker in this process."""
    here = sweep(5, 2)
    monkeypatch.setattr("scratchnn.many.train_here", None)
    options: dict[str, Any] = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        LocalCluster(**options, silence_logs=50) as cluster,
        Client(cluster, set_as_default=False) as alone,
        alone.as_current(),
        joblib.parallel_config("dask"),
    ):
        there = sweep(5, 2)
    same(here, there)


def test_a_network_that_diverges_stops_alone(client: Client) -> None:
    rates = (0.01, 1e38)
    here = sweep(6, 3, rates)
    with joblib.parallel_config("dask"):
        there = sweep(6, 3, rates)
    assert [error is not None for error in there.diverged] == [False, True] * 3
    for mine, yours in zip(here.diverged, there.diverged, strict=True):
        assert str(mine) == str(yours)
        assert (mine and (mine.epoch, mine.step)) == (yours and (yours.epoch, yours.step))
    assert there.diverged[1] is not None
    assert there.diverged[1].history is there.histories[1]
    same(here, there)


class Killer:
    """Kills one of two workers as soon as both work and the task `after` is done somewhere."""

    def __init__(self, client: Client, after: str) -> None:
        self.client, self.after = client, after
        self.before = process_of(client)
        self.victim = self.left = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self) -> None:
        while not self.over.wait(0.02):
            working = {worker: tasks for worker, tasks in self.client.processing().items() if tasks}
            done = sum(self.after in key for keys in self.client.has_what().values() for key in keys)
            if len(working) == 2 and done:
                self.victim = self.before[next(iter(working))]
                self.left = sum(len(tasks) for tasks in working.values())
                os.kill(self.victim, signal.SIGKILL)
                return

    def __enter__(self) -> Killer:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join()
        if error[0] is None:
            assert self.victim, "all was over before a worker could be killed"
            assert self.left >= 2  # tasks that were still to do
            deadline = time.monotonic() + 30  # dask starts another worker in its place
            while len(process_of(self.client)) < 2 and time.monotonic() < deadline:
                time.sleep(0.1)
            assert self.victim not in process_of(self.client).values()


def test_a_worker_is_killed_midway(client: Client) -> None:
    """SIGKILL once the first chunk is back: the lost ones run again elsewhere, and the result is the same."""
    options: dict[str, Any] = {"epochs": 40, "rows": 2000}
    here = sweep(40, **options)
    with Killer(client, "_train_chunk"), joblib.parallel_config("dask"):
        there = sweep(40, **options)
    assert not there.interrupted
    same(here, there)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("lost", [False, True])
def test_grid_search(lost: bool, client: Client) -> None:
    """scikit-learn's own search, with our estimator: the same scores as here; with a worker killed, too."""
    X, y = load_wine(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    grid = {"alpha": [1e-4, 1e-1], "hidden_layer_sizes": [(4,), (8,), (12,)]}
    estimator = snn.MLPClassifier(max_iter=300 if lost else 15, tol=0.0, n_iter_no_change=999, random_state=0)
    here = GridSearchCV(estimator, grid, cv=3).fit(X, y)
    # Data that are scattered to all workers outlive any of them.
    with (
        Killer(client, "fit_and_score") if lost else contextlib.nullcontext(),
        joblib.parallel_config("dask", scatter=[X, y]),
    ):
        there = GridSearchCV(estimator, grid, cv=3).fit(X, y)
    np.testing.assert_array_equal(here.cv_results_["mean_test_score"], there.cv_results_["mean_test_score"])
    assert here.best_params_ == there.best_params_
    for a, b in zip(here.best_estimator_.coefs_, there.best_estimator_.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_guide_runs(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the cluster that is here already."""
    monkeypatch.setattr("dask.distributed.Client", lambda **options: client)
    monkeypatch.setattr(client, "close", lambda: None)
    text = (Path(__file__).parents[1] / "docs" / "scaling.md").read_text()
    names: dict[str, Any] = {"__name__": "guide"}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(compile(block, "scaling.md", "exec"), names)
    assert names["many"].results["epochs"].tolist() == [5] * 20
    assert names["search"].best_score_ > 0.7


def test_another_backend_than_dask() -> None:
    """Any backend of joblib's will do: this one is a subclass of its pool of processes, as ray's is."""
    from joblib._parallel_backends import MultiprocessingBackend

    class ElsewhereBackend(MultiprocessingBackend):  # type: ignore[misc]
        pass

    joblib.register_parallel_backend("elsewhere", ElsewhereBackend)
    here = sweep(5, 2)
    with joblib.parallel_config("elsewhere", n_jobs=2):
        assert active_backend() is not None
        there = sweep(5, 2)
    same(here, there)
