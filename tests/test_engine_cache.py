"""Compiled code on disk: found again, never stale, safe between processes, and not needed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import scratchnn
import scratchnn as snn
from scratchnn.engine.cache import source_hash

PACKAGE = Path(scratchnn.__file__).parent

# A small kernel over a formula of `functional`, compiled and cached as the large one is.
PROGRAM = """
import numpy as np
from numba import njit, types
from scratchnn.engine import lanes
from scratchnn.engine.cache import cache_folder, compiled
from scratchnn.engine.formulas import compile_formula
from scratchnn.functional import activations

formula = compile_formula(activations.leaky_relu_vjp)

@njit(error_model="numpy")
def small(x):
    p = lanes.pointer(x)
    for i in range(0, x.size, lanes.width(p)):
        lanes.store(p, i, formula(lanes.load(p, i), lanes.load(p, i), 0.5))

kernel, seconds = compiled(small, "small", (types.Array(types.float32, 1, "C"),))
x = np.full(16, -2, np.float32)
kernel(x)
print(x[0], seconds > 0, cache_folder())
"""


def start(root: Path, cache: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(root), "SCRATCHNN_CACHE_DIR": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=root,
    )


def finish(process: subprocess.Popen[str]) -> tuple[float, bool, Path]:
    """(what the formula gave, whether it was compiled now, the cache's folder)."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    number, compiled, folder = out.split()
    return float(number), compiled == "True", Path(folder)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the package that a test may edit."""
    shutil.copytree(PACKAGE, tmp_path / "root" / "scratchnn", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "root"


def test_an_edit_in_another_file_is_seen(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert finish(start(root, cache))[:2] == (-1.0, True)
    assert finish(start(root, cache))[:2] == (-1.0, False)
    formulas = root / "scratchnn" / "functional" / "activations.py"
    text = formulas.read_text()
    assert "where(x > 0, dy, dy * negative_slope)" in text
    formulas.write_text(text.replace("where(x > 0, dy, dy * negative_slope)", "where(x > 0, dy, dy * 3)"))
    assert finish(start(root, cache))[:2] == (-6.0, True)
    formulas.write_text(text)
    assert finish(start(root, cache))[:2] == (-1.0, False)


def test_two_processes_at_once_and_a_file_cut_short(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for process in [start(root, cache) for _ in range(2)]:
        assert finish(process)[0] == -1.0
    *_, folder = finish(start(root, cache))
    (file,) = folder.iterdir()  # nothing left aside
    file.write_bytes(file.read_bytes()[:1000])
    assert finish(start(root, cache))[:2] == (-1.0, True)
    assert finish(start(root, cache))[:2] == (-1.0, False)


def test_a_folder_that_cannot_be_written(root: Path, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    for _ in range(2):
        assert finish(start(root, in_the_way / "cache"))[:2] == (-1.0, True)
    if os.name == "posix" and os.geteuid() != 0:  # nothing is read-only to root
        locked = tmp_path / "locked"
        locked.mkdir(mode=0o555)
        assert finish(start(root, locked))[:2] == (-1.0, True)


@pytest.mark.parametrize("file", ["functional/losses.py", "functional/vocabulary.py", "engine/blocks.py"])
def test_the_key_covers_every_source(root: Path, file: str) -> None:
    package = root / "scratchnn"
    before = source_hash(package)
    assert before == source_hash(PACKAGE)
    with (package / file).open("a") as handle:
        handle.write("\n")
    assert source_hash(package) != before


def test_the_key_knows_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from scratchnn.engine import cache

    before = cache.cache_folder()
    monkeypatch.setattr(cache.llvm, "get_host_cpu_name", lambda: "another")
    cache._key.cache_clear()
    try:
        assert cache.cache_folder() != before
    finally:
        monkeypatch.undo()
        cache._key.cache_clear()
    assert cache.cache_folder() == before


def test_a_call_compiles_nothing() -> None:
    """One signature a dtype: arrays that may be written to fit where read-only ones are asked for."""
    from scratchnn.engine.orders import _seeded
    from scratchnn.engine.steps import run_steps

    for dtype in (np.float32, np.float64):
        X = np.ones((8, 2), dtype)
        for writeable in (True, False):
            X.flags.writeable = writeable
            model = snn.Sequential(snn.Linear(2, 1, dtype=dtype))
            loader = snn.DataLoader(snn.TensorDataset(X, X[:, :1].copy()), 4, shuffle=True)
            snn.fit(
                model, snn.MSELoss(), snn.SGD(model.parameters()), loader, 2, engine="numba", progress=False
            )
    assert len(run_steps.signatures) == 2
    assert len(_seeded.signatures) == 1


THREADS = """
import threading
import numpy as np
import scratchnn as snn

X, y = np.ones((9, 2), np.float32), np.ones((9, 1), np.float32)
engines = []

def train():
    model = snn.MLP(2, 3, 1)
    loader = snn.DataLoader(snn.TensorDataset(X, y), batch_size=3, shuffle=True)
    engines.append(snn.fit(model, snn.MSELoss(), snn.SGD(model.parameters(), lr=0.01), loader, 2).engine)

threads = [threading.Thread(target=train) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert engines == ["numba"] * 4, engines
"""


def test_threads_that_want_the_engine_at_once_all_get_it() -> None:
    subprocess.run([sys.executable, "-c", THREADS], check=True, cwd=Path(__file__).parent.parent)
