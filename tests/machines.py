"""The suite and the training runs on other machines, as far as one machine can play them.

    PYTHONPATH=. python tests/machines.py suite                  the whole suite under each machine in turn
    PYTHONPATH=. python tests/machines.py suite zen busy -- -x   under these, with pytest's arguments
    PYTHONPATH=. python tests/machines.py spread                 how far a training run parts between machines

The libraries choose their code by the processor, and can be told to choose another: OpenBLAS its matrix
products, NumPy its loops, PyTorch its kernels, Numba what it compiles for. Only what the processor at hand
can run can be played; a machine that needs more is left out, and that is said. "busy" keeps every core at
work meanwhile.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
AVX2 = "+sse4.2,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+popcnt,+lzcnt,+movbe"
SSE4 = "+sse4.2,+popcnt"


@dataclass(frozen=True)
class Machine:
    """One way to run.

    Attributes:
        what: the machine, in words.
        environment: what tells the libraries.
        needs: features of the processor, by NumPy's names.
        busy: every core has something else to do.
    """

    what: str
    environment: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    busy: bool = False


NUMPY_WITHOUT_512 = "X86_V4 AVX512_ICL AVX512_SPR"
NUMPY_WITHOUT_AVX2 = f"X86_V3 {NUMPY_WITHOUT_512}"
MACHINES = {
    "this": Machine("as it is"),
    "one-thread": Machine("one thread for every library", {"OMP_NUM_THREADS": "1"}),
    "skylakex": Machine("OpenBLAS for Skylake-X", {"OPENBLAS_CORETYPE": "SkylakeX"}, ("AVX512F",)),
    "haswell": Machine("OpenBLAS for Haswell", {"OPENBLAS_CORETYPE": "Haswell"}, ("AVX2",)),
    "zen": Machine("OpenBLAS for Zen", {"OPENBLAS_CORETYPE": "Zen"}, ("AVX2",)),
    "nehalem": Machine("OpenBLAS for Nehalem", {"OPENBLAS_CORETYPE": "Nehalem"}),
    "torch-avx2": Machine("PyTorch's AVX2 kernels", {"ATEN_CPU_CAPABILITY": "avx2"}, ("AVX2",)),
    "torch-plain": Machine("PyTorch's plain kernels", {"ATEN_CPU_CAPABILITY": "default"}),
    "without-avx512": Machine(
        "no AVX-512 anywhere: a machine of 2014",
        {
            "OPENBLAS_CORETYPE": "Haswell",
            "NPY_DISABLE_CPU_FEATURES": NUMPY_WITHOUT_512,
            "ATEN_CPU_CAPABILITY": "avx2",
            "NUMBA_CPU_NAME": "haswell",
            "NUMBA_CPU_FEATURES": AVX2,
        },
        ("AVX2",),
    ),
    "without-avx2": Machine(
        "no AVX anywhere: a machine of 2009",
        {
            "OPENBLAS_CORETYPE": "Nehalem",
            "NPY_DISABLE_CPU_FEATURES": NUMPY_WITHOUT_AVX2,
            "ATEN_CPU_CAPABILITY": "default",
            "NUMBA_CPU_NAME": "nehalem",
            "NUMBA_CPU_FEATURES": SSE4,
        },
    ),
    "busy": Machine("every core busy with something else", busy=True),
}


def missing(machine: Machine) -> list[str]:
    """What the processor at hand lacks to play this machine."""
    from numpy._core._multiarray_umath import __cpu_features__ as present

    return [feature for feature in machine.needs if not present.get(feature)]


class Busy:
    """As many processes as there are cores, each of them computing."""

    def __init__(self, wanted: bool) -> None:
        self.count = (os.cpu_count() or 1) if wanted else 0

    def __enter__(self) -> None:
        command = [sys.executable, "-c", "while True: sum(i * i for i in range(10**6))"]
        self.processes = [subprocess.Popen(command) for _ in range(self.count)]

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def environment_of(machine: Machine, folder: str) -> dict[str, str]:
    """This program's own, without what it says of processors, and with what this machine says."""
    said = {"OMP_NUM_THREADS", *itertools.chain.from_iterable(m.environment for m in MACHINES.values())}
    kept = {name: value for name, value in os.environ.items() if name not in said}
    # NumPy warns of features that the machine at hand lacks anyway.
    return {
        **kept,
        **machine.environment,
        "SCRATCHNN_CACHE_DIR": folder,
        "PYTHONWARNINGS": "ignore::ImportWarning",
    }


# The suite ----------------------------------------------------------------------------------------


def suite(names: list[str], arguments: list[str]) -> int:
    """Run pytest under each machine; print a table. Returns how many machines failed."""
    rows, failures = [], 0
    for name in names:
        machine = MACHINES[name]
        if lacks := missing(machine):
            rows.append(f"| {name} | {machine.what} | not run: this processor has no {', '.join(lacks)} | |")
            continue
        with tempfile.TemporaryDirectory() as folder, Busy(machine.busy):
            started = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", *arguments],
                env=environment_of(machine, folder), cwd=HERE.parent,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            minutes = (time.perf_counter() - started) / 60
        last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr.strip()[-200:]
        counts = re.sub(r"\x1b\[\d*m|=|in [\d.]+s.*", "", last).strip()
        rows.append(f"| {name} | {machine.what} | {counts} | {minutes:.1f} |")
        failures += done.returncode != 0
        print(f"{name}: {counts}, {minutes:.1f} minutes", flush=True)
        for line in done.stdout.splitlines():
            if line.startswith(("FAILED", "ERROR")):
                print("   ", line, flush=True)
    print("\n| machine | what it plays | result | minutes |\n|---|---|---|---|")
    print("\n".join(rows))
    return failures


# The spread of training runs -----------------------------------------------------------------------

STEPS = (10, 100, 1000)
BATCHES = 5  # steps in an epoch
SEEDS = range(2)


@dataclass(frozen=True)
class Run:
    """A training run: its layers, loss, optimizer, and what bounds its gradients."""

    layers: Callable[[Any, Any], list[Any]]
    loss: str
    optimizer: str
    settings: dict[str, Any]
    bounds: dict[str, float] = field(default_factory=dict)
    classes: int = 0


def _sizes(*sizes: int, between: str, end: str | None = None) -> Callable[[Any, Any], list[Any]]:
    def made(nn: Any, dtype: Any) -> list[Any]:
        layers = []
        for i, (a, b) in enumerate(itertools.pairwise(sizes)):
            layers += [
                nn.Linear(a, b, dtype=dtype),
                *([getattr(nn, between)()] if i < len(sizes) - 2 else []),
            ]
        return layers + ([getattr(nn, end)()] if end else [])

    return made


RUNS = {
    "circles": Run(_sizes(2, 10, 1, between="ReLU", end="Sigmoid"), "BCELoss", "SGD", {"lr": 0.1}),
    "rings": Run(_sizes(2, 3, 1, between="Tanh", end="Sigmoid"), "BCELoss", "Adam", {"lr": 0.01}),
    "classes": Run(_sizes(3, 8, 3, between="Sigmoid"), "CrossEntropyLoss", "AdamW", {"lr": 0.01}, classes=3),
    "value": Run(
        _sizes(3, 5, 7, 1, between="Tanh"), "MSELoss", "SGD",
        {"lr": 0.1, "momentum": 0.9}, {"clip_grad_value": 0.05},
    ),
    "norm": Run(
        _sizes(3, 5, 7, 1, between="Tanh"), "MSELoss", "SGD",
        {"lr": 0.1, "momentum": 0.9}, {"clip_grad_norm": 0.3},
    ),
}  # fmt: skip


def trajectories(run: Run, dtype: Any, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """All parameters after each of STEPS, as one vector, by each engine and by PyTorch."""
    import torch

    import scratchnn as snn

    rng = np.random.default_rng(seed)
    snn.manual_seed(seed)
    model = snn.Sequential(*run.layers(snn, dtype))
    initial = {name: value.copy() for name, value in model.state_dict().items()}
    X = rng.standard_normal((BATCHES * 32, model[0].in_features)).astype(dtype)  # type: ignore[attr-defined]
    score = np.sin(X.sum(axis=1, keepdims=True))
    y = score.astype(dtype) if run.loss == "MSELoss" else (score > 0).astype(dtype)
    if run.classes:
        y = rng.integers(0, run.classes, len(X))
    found = {}

    def flat(values: Any) -> Any:
        return np.concatenate([np.asarray(v, np.float64).ravel() for v in values])

    for engine in ("numpy", "numba"):
        model.load_state_dict(initial)
        optimizer = getattr(snn, run.optimizer)(model.parameters(), **run.settings)
        loader = snn.DataLoader(snn.TensorDataset(X, y), batch_size=32)
        done = 0
        for steps in STEPS:
            epochs, done = (steps - done) // BATCHES, steps
            loss_fn = getattr(snn, run.loss)()
            snn.fit(model, loss_fn, optimizer, loader, epochs, engine=engine, progress=False, **run.bounds)
            found[f"{engine} {steps}"] = flat(p.data for p in model.parameters())

    twin = torch.nn.Sequential(*run.layers(torch.nn, getattr(torch, np.dtype(dtype).name)))
    twin.load_state_dict({name: torch.from_numpy(value) for name, value in initial.items()})
    mover = getattr(torch.optim, run.optimizer)(twin.parameters(), **run.settings)
    criterion = getattr(torch.nn, run.loss)()
    for step in range(max(STEPS)):
        rows = slice(32 * (step % BATCHES), 32 * (step % BATCHES + 1))
        mover.zero_grad()
        criterion(twin(torch.from_numpy(X[rows])), torch.from_numpy(y[rows])).backward()
        if "clip_grad_value" in run.bounds:
            torch.nn.utils.clip_grad_value_(twin.parameters(), run.bounds["clip_grad_value"])
        if "clip_grad_norm" in run.bounds:
            torch.nn.utils.clip_grad_norm_(twin.parameters(), run.bounds["clip_grad_norm"])
        mover.step()
        if step + 1 in STEPS:
            found[f"torch {step + 1}"] = flat(p.detach().numpy() for p in twin.parameters())
    return found


def record(path: str) -> None:
    """All runs on the machine at hand, into one file."""
    kept = {}
    for dtype, name, seed in itertools.product((np.float32, np.float64), RUNS, SEEDS):
        for key, value in trajectories(RUNS[name], dtype, seed).items():
            engine, steps = key.split()
            kept[f"{np.dtype(dtype).name} {name} {seed} {steps} {engine}"] = value
    np.savez(path, **kept)  # type: ignore[arg-type]


def spread(names: list[str]) -> None:
    """Print, for each dtype, run and step, the largest difference between any two machines and engines."""
    found: dict[str, dict[str, np.ndarray[Any, Any]]] = {}
    for name in names:
        machine = MACHINES[name]
        if missing(machine):
            continue
        with tempfile.TemporaryDirectory() as folder, Busy(machine.busy):
            path = os.path.join(folder, "runs.npz")
            subprocess.run(
                [sys.executable, __file__, "record", path],
                # Threads of networks as small as these would only wait for each other.
                env={**environment_of(machine, folder), "OMP_NUM_THREADS": "1"}, cwd=HERE.parent, check=True,
            )  # fmt: skip
            with np.load(path) as file:
                for key in file.files:
                    run, engine = key.rsplit(" ", 1)
                    found.setdefault(run, {})[f"{engine} on {name}"] = file[key]
        print(f"{name}: recorded", file=sys.stderr, flush=True)
    print("| dtype | run | step | ours to PyTorch's | PyTorch's to PyTorch's | all to all |")
    print("|---|---|---|---|---|---|")
    for dtype, name, steps in itertools.product(("float32", "float64"), RUNS, STEPS):
        widest = dict.fromkeys(("judge", "torch", "all"), 0.0)
        for seed in SEEDS:
            runs = found[f"{dtype} {name} {seed} {steps}"]
            for (a, first), (b, second) in itertools.combinations(runs.items(), 2):
                far = float(np.abs(first - second).max() / max(1, np.abs(first).max()))
                kinds = {a.split()[0] == "torch", b.split()[0] == "torch"}
                kind = "judge" if len(kinds) == 2 else "torch" if kinds == {True} else "all"
                widest[kind] = max(widest[kind], far)
        shown = " | ".join(f"{far:.1e}" for far in (widest["judge"], widest["torch"], max(widest.values())))
        print(f"| {dtype} | {name} | {steps} | {shown} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=["suite", "spread", "record"])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(MACHINES)}; all of them without")
    ours, _, pytests = " ".join(sys.argv[1:]).partition(" -- ")
    asked = parser.parse_args(ours.split())
    if asked.what == "record":
        record(asked.names[0])
        return 0
    unknown = [name for name in asked.names if name not in MACHINES]
    if unknown:
        parser.error(f"no machine {unknown[0]!r}; it must be one of {', '.join(MACHINES)}")
    names = asked.names or list(MACHINES)
    if asked.what == "suite":
        return suite(names, pytests.split())
    spread(names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
