"""The estimators beside scikit-learn's MLP: the same import changed, nothing else.

    python -m benchmarks.estimators                accuracy, speed, search; a table each
    python -m benchmarks.estimators speed --quick  one of them, in seconds; its figures mean nothing

Both are called in turn, in the same process, on the same rows with the same seed; the search lets each have
its two processes in turn. Processor seconds are what both cost whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import sklearn.neural_network as theirs
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import scratchnn as ours
from scratchnn.files.atomic import write_atomically

from .machine import facts

SEEDS, REPEATS, JOBS = 20, 7, 2
# Diabetes has targets of some hundred: its default rate of 0.001 gets nowhere in 200 epochs, in either.
DATASETS: dict[str, tuple[str, Callable[[], Any], dict[str, Any]]] = {
    "digits": ("MLPClassifier", lambda: datasets.load_digits(return_X_y=True), {}),
    "breast cancer": ("MLPClassifier", lambda: datasets.load_breast_cancer(return_X_y=True), {}),
    "wine": ("MLPClassifier", lambda: datasets.load_wine(return_X_y=True), {}),
    "moons": ("MLPClassifier", lambda: datasets.make_moons(500, noise=0.2, random_state=0), {}),
    "diabetes": (
        "MLPRegressor",
        lambda: datasets.load_diabetes(return_X_y=True),
        {"learning_rate_init": 0.02},
    ),
}
GRID = {
    "hidden_layer_sizes": [(50,), (100,), (50, 50), (100, 50)],
    "alpha": [1e-5, 1e-4, 1e-3, 1e-2],
    "learning_rate_init": [0.001, 0.003],
    "batch_size": [100, 200],
}


def timed(run: Callable[[], Any]) -> tuple[Any, float, float]:
    """(result, seconds on the clock, seconds of the processor)."""
    clock, processor = time.perf_counter(), time.process_time()
    result = run()
    return result, time.perf_counter() - clock, time.process_time() - processor


def accuracy(seeds: int) -> list[dict[str, Any]]:
    """Scores on a quarter of the rows that was held out; each seed draws its own split and weights."""
    rows = []
    for name, (kind, load, settings) in DATASETS.items():
        X, y = load()
        scores: dict[str, list[float]] = {"sklearn": [], "scratchnn": []}
        for seed in range(seeds):
            X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=seed)
            for peer, library in (("sklearn", theirs), ("scratchnn", ours)):
                model = make_pipeline(StandardScaler(), getattr(library, kind)(random_state=seed, **settings))
                scores[peer].append(model.fit(X_train, y_train).score(X_test, y_test))
        differences = np.subtract(scores["scratchnn"], scores["sklearn"])
        rows.append(
            {
                "data": name,
                "seeds": seeds,
                "scikit-learn": statistics.mean(scores["sklearn"]),
                "scratchnn": statistics.mean(scores["scratchnn"]),
                "spread over seeds": statistics.pstdev(scores["sklearn"]),
                "mean difference": float(differences.mean()),
                "largest difference": float(np.abs(differences).max()),
            }
        )
    return rows


def speed(repeats: int) -> list[dict[str, Any]]:
    """One fit on digits with the default settings, until it stops by itself."""
    X, y = datasets.load_digits(return_X_y=True)
    _, first, _ = timed(lambda: ours.MLPClassifier(random_state=0, max_iter=2).fit(X, y))
    theirs.MLPClassifier(random_state=0, max_iter=2).fit(X, y)
    runs: dict[str, list[tuple[float, float]]] = {"scikit-learn": [], "scratchnn": []}
    epochs = {}
    for _ in range(repeats):
        for peer, library in (("scikit-learn", theirs), ("scratchnn", ours)):
            model, clock, processor = timed(partial(library.MLPClassifier(random_state=0).fit, X, y))
            runs[peer].append((clock, processor))
            epochs[peer] = model.n_iter_
    rows: list[dict[str, Any]] = []
    for peer, seconds in runs.items():
        row = {
            "fit": peer,
            "epochs": epochs[peer],
            "seconds": statistics.median(s for s, _ in seconds),
            "fastest": min(s for s, _ in seconds),
            "processor": statistics.median(s for _, s in seconds),
        }
        rows.append(row)
    pairs = list(zip(runs["scikit-learn"], runs["scratchnn"], strict=True))
    ratios = [[a[i] / b[i] for a, b in pairs] for i in (0, 1)]
    rows.append({"times faster": statistics.median(ratios[0]), "by processor": statistics.median(ratios[1])})
    rows.append({"first fit in a process, seconds": first})
    return rows


def search(quick: bool) -> list[dict[str, Any]]:
    """GridSearchCV, three folds, two processes; the processes are up before the clock starts."""
    X, y = datasets.load_digits(return_X_y=True)
    grid = {name: values[: 1 if quick else None] for name, values in GRID.items()}
    settings = int(np.prod([len(values) for values in grid.values()]))
    rows: list[dict[str, Any]] = []
    for peer, library in (("scikit-learn", theirs), ("scratchnn", ours)):
        model = library.MLPClassifier(random_state=0)
        warm = GridSearchCV(library.MLPClassifier(max_iter=2), {"alpha": [0.1, 1]}, cv=2, n_jobs=JOBS)
        warm.fit(X[:100], y[:100])
        found, clock, _ = timed(partial(GridSearchCV(model, grid, cv=3, n_jobs=JOBS).fit, X, y))
        rows.append({"search": peer, "settings": settings, "seconds": clock, "best score": found.best_score_})
    rows.append({"times faster": rows[0]["seconds"] / rows[1]["seconds"]})
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print("  ".join(f"{k}: {v:.4g}" if isinstance(v, float) else f"{k}: {v}" for k, v in row.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("questions", nargs="*", metavar="accuracy, speed, search")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", help="a file for all figures and the machine's facts")
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    kept: dict[str, Any] = {"machine": facts()}
    for question in options.questions or ["accuracy", "speed", "search"]:
        if question == "accuracy":
            kept[question] = accuracy(2 if options.quick else SEEDS)
        elif question == "speed":
            kept[question] = speed(1 if options.quick else REPEATS)
        else:
            kept[question] = search(options.quick)
        print(question)
        show(kept[question])
    if options.json:
        write_atomically(options.json, json.dumps(kept, indent=1).encode())


if __name__ == "__main__":
    main()
