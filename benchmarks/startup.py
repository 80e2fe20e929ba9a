"""Start-up: how long until the first step, in a new process and on a new machine?"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from .measure import Result, Settings, say
from .peers import PEERS
from .worker import threads

# Each prints its seconds last; a reason instead where it cannot run.
CLOCK = "import time; start = time.CLOCK()\n"
STOP = "\nprint(time.CLOCK() - start)"
CLOCKS = {"wall": "perf_counter", "cpu": "process_time"}
NETWORK = """
import numpy as np
x = np.random.default_rng(0).random((6700, 2), np.float32)
y = (x[:, :1] > 0.5).astype(np.float32)
"""
OURS = """
import scratchnn as snn
model = snn.Sequential(snn.Linear(2, 10), snn.ReLU(), snn.Linear(10, 1), snn.Sigmoid())
optimizer = snn.SGD(model.parameters(), lr=0.1)
loader = snn.DataLoader(snn.TensorDataset(x, y), batch_size=64, shuffle=True)
loss_fn = snn.BCELoss()
"""
FIT = """
history = snn.fit(model, loss_fn, optimizer, loader, epochs=1, engine="numba", progress=False)
if history.engine != "numba": raise SystemExit(history.reason)
"""
TORCH = """
import torch
from torch.nn import Linear, ReLU, Sequential, Sigmoid
model = Sequential(Linear(2, 10), ReLU(), Linear(10, 1), Sigmoid())
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss_fn = torch.nn.BCELoss()
x, y = torch.from_numpy(x), torch.from_numpy(y)
"""
EPOCH = """
for first in range(0, len(x), 64):
    optimizer.zero_grad()
    loss_fn(model(x[first:first + 64]), y[first:first + 64]).backward()
    optimizer.step()
"""

# (what is timed, key of the peer, program, with an empty cache of compiled code)
PROGRAMS = (
    ("import numpy", "numpy", CLOCK + "import numpy" + STOP, False),
    ("import scratchnn", "numba", CLOCK + "import scratchnn" + STOP, False),
    ("first epoch, warm cache", "numba", NETWORK + OURS + CLOCK + FIT + STOP, False),
    ("first epoch, cold compile", "numba", NETWORK + OURS + CLOCK + FIT + STOP, True),
    ("import torch", "torch", CLOCK + "import torch" + STOP, False),
    ("first epoch", "torch", NETWORK + TORCH + CLOCK + EPOCH + STOP, False),
    ("import jax", "jax", CLOCK + "import jax" + STOP, False),
    ("import sklearn's MLP", "sklearn", CLOCK + "import sklearn.neural_network" + STOP, False),
)
COLD_REPEATS = 2
PATIENCE = 300  # seconds


def measure(settings: Settings) -> list[Result]:
    results = []
    runs: dict[str, list[float]] = {}
    chosen = [entry for entry in PROGRAMS if settings.wants(entry[1]) or entry[1] == "numba"]
    for turn in range(settings.repeats + 1):
        for name, key, program, cold in chosen:
            if cold and (turn >= COLD_REPEATS or settings.quick):
                continue
            outcome = _seconds(program.replace("CLOCK", CLOCKS[settings.clock]), cold)
            # the first turn fills the caches: compiled code, bytecode, files
            if isinstance(outcome, str):
                runs[name] = []
                if turn == 0:
                    say(f"  {name}: skipped: {outcome}")
                    results.append(_result(name, key, "skipped", outcome))
            elif turn or cold:
                runs.setdefault(name, []).append(1e6 * outcome)
    for name, key, _, _ in chosen:
        if runs.get(name):
            result = _result(name, key, "timed")
            result.runs, result.microseconds = runs[name], statistics.median(runs[name])
            results.append(result)
    return results


def _result(name: str, key: str, status: str, reason: str = "") -> Result:
    label = "NumPy" if key == "numpy" else PEERS[key][0]
    return Result("startup", name, "in a new process", key, label, status, reason)


def _seconds(program: str, cold: bool) -> float | str:
    """What the program prints, or why it did not."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, threads(1):
        environment: dict[str, Any] = dict(os.environ)
        if cold:
            environment["SCRATCHNN_CACHE_DIR"] = folder
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            capture_output=True,
            text=True,
            env=environment,
            timeout=PATIENCE,
            check=False,
        )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it failed"])[-1]
    return float(done.stdout.split()[-1])


if __name__ == "__main__":
    import sys

    from .__main__ import main

    sys.exit(main(["startup", *sys.argv[1:]]))
