"""What a network costs in a sweep here, and on a dask cluster of one and of two workers on this machine.

    python -m benchmarks.cluster [--networks 400] [--epochs 50] [--repeats 5]

The same sweep each time, the ways in turns; of each the fastest round counts. The workers are processes with
one thread each. What they cost beyond the run here is the way of the models there and back.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
from dask.distributed import Client, LocalCluster

import scratchnn as snn

ROWS, FEATURES, HIDDEN, BATCH = 500, 8, 16, 32


def sweep(networks: int, epochs: int, threads: int) -> tuple[float, np.ndarray[Any, Any]]:
    """Seconds, and the last losses."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, FEATURES)).astype(np.float32)
    y = np.sin(X[:, :1])
    snn.manual_seed(0)
    models: list[snn.Module] = [
        snn.Sequential(snn.Linear(FEATURES, HIDDEN), snn.Tanh(), snn.Linear(HIDDEN, 1))
        for _ in range(networks)
    ]
    optimizers = [snn.Adam(model.parameters(), lr=0.01) for model in models]
    started = time.perf_counter()
    many = snn.fit_many(
        models, snn.MSELoss(), optimizers, X, y, epochs=epochs, batch_size=BATCH,
        seeds=range(networks), threads=threads, progress=False,
    )  # fmt: skip
    return time.perf_counter() - started, many.results["train_loss"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=int, default=400)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()

    def there(client: Client) -> tuple[float, Any]:
        with client.as_current(), joblib.parallel_config("dask"):
            return sweep(chosen.networks, chosen.epochs, 1)

    options: dict[str, Any] = {"threads_per_worker": 1, "processes": True, "dashboard_address": ":0"}
    with (
        LocalCluster(n_workers=1, **options) as small, Client(small, set_as_default=False) as one,
        LocalCluster(n_workers=2, **options) as large, Client(large, set_as_default=False) as two,
    ):  # fmt: skip
        ways: dict[str, Callable[[], tuple[float, Any]]] = {
            "here, 1 thread": lambda: sweep(chosen.networks, chosen.epochs, 1),
            "here, 2 threads": lambda: sweep(chosen.networks, chosen.epochs, 2),
            "dask, 1 worker": lambda: there(one),
            "dask, 2 workers": lambda: there(two),
        }
        best = dict.fromkeys(ways, float("inf"))
        losses = {}
        for round_ in range(chosen.repeats + 1):  # the first one warms up: workers load the engine
            for name, run in ways.items():
                seconds, losses[name] = run()
                if round_:
                    best[name] = min(best[name], seconds)
    steps = chosen.epochs * -(-ROWS // BATCH)
    print(f"{chosen.networks} networks {FEATURES}-{HIDDEN}-1, {ROWS} rows, batches of {BATCH}, {steps} steps")
    first = losses["here, 1 thread"]
    for name, seconds in best.items():
        equal = "equal" if np.array_equal(losses[name], first) else "NOT EQUAL"
        print(
            f"{name:16} {seconds:7.2f} s {1000 * seconds / chosen.networks:7.2f} ms a network  losses {equal}"
        )


if __name__ == "__main__":
    main()
