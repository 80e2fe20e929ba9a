"""Compiled code on disk: found again, never stale, safe between processes, and not needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import scratchnn
import scratchnn as snn
from scratchnn import imported
from scratchnn.imported import code_digest

PACKAGE = Path(scratchnn.__file__).parent

# A small kernel over a formula of `functional`, compiled and cached as the large one is.
PROGRAM = """
import importlib, sys, warnings
import numpy as np
import scratchnn
from scratchnn.functional import activations

{meanwhile}

from numba import njit, types
from scratchnn.engine import lanes
from scratchnn.engine.cache import compiled
from scratchnn.engine.formulas import compile_formula

formula = compile_formula(activations.leaky_relu_vjp)

@njit(error_model="numpy")
def small(x):
    p = lanes.pointer(x)
    for i in range(0, x.size, lanes.width(p)):
        lanes.store(p, i, formula(lanes.load(p, i), lanes.load(p, i), 0.5))

with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    kernel, seconds = compiled(small, "small", (types.Array(types.float32, 1, "C"),))
x = np.full(16, -2, np.float32)
kernel(x)
print(x[0], seconds > 0, *(str(warning.message) for warning in said), sep="\\n")
"""


def start(root: Path, cache: Path | str, meanwhile: str = "") -> subprocess.Popen[str]:
    """Run the program; `meanwhile`: what happens once scratchnn is imported, before the engine is."""
    environment = {**os.environ, "PYTHONPATH": str(root), "SCRATCHNN_CACHE_DIR": str(cache)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM.replace("{meanwhile}", meanwhile)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=root,
    )


def finish(process: subprocess.Popen[str]) -> tuple[float, bool, str]:
    """(what the formula gave, whether it was compiled now, what was warned of)."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    number, compiled, *said = out.splitlines()
    return float(number), compiled == "True", "".join(said)


def entries_in(cache: Path) -> list[Path]:
    """Compiled functions."""
    return sorted(cache.glob("*/*.bin"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of the package that a test may edit."""
    shutil.copytree(PACKAGE, tmp_path / "root" / "scratchnn", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "root"


FORMULA = "where(x > 0, dy, dy * negative_slope)"
OTHER = FORMULA.replace("negative_slope", "3")


def formulas(root: Path) -> Path:
    path = root / "scratchnn" / "functional" / "activations.py"
    assert path.read_text().count(FORMULA) == 1
    return path


def test_an_edit_in_another_file_is_seen(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert finish(start(root, cache)) == (-1.0, True, "")
    assert finish(start(root, cache)) == (-1.0, False, "")
    path = formulas(root)
    text = path.read_text()
    path.write_text(text.replace(FORMULA, OTHER))
    assert finish(start(root, cache)) == (-6.0, True, "")
    path.write_text(f"# a comment changes no code\n{text}")
    assert finish(start(root, cache)) == (-1.0, False, "")


EDIT = f"""
path = activations.__file__
text = open(path).read()
open(path, "w").write(text.replace({FORMULA!r}, {OTHER!r}))
"""
# A program has other formulas than the sources. One that has the sources' must not find what it compiled.
MEANWHILE = {
    # Numbers of the program itself: what it was imported with, what it has now.
    "a source is edited": (EDIT, -1.0, -6.0),
    "a source of the engine is edited": (
        "from scratchnn.engine import words; open(words.__file__, 'a').write('EDITED = 1')",
        -1.0,
        -1.0,
    ),
    "a formula is replaced": (
        "activations.leaky_relu_vjp = lambda dy, x, negative_slope: dy * 7.0",
        -14.0,
        -1.0,
    ),
    "a source is edited and imported again": (EDIT + "importlib.reload(activations)", -6.0, -6.0),
}


@pytest.mark.parametrize("what", MEANWHILE)
def test_what_was_imported_counts(what: str, root: Path, tmp_path: Path) -> None:
    meanwhile, first, second = MEANWHILE[what]
    number, compiled, said = finish(start(root, tmp_path / "cache", meanwhile))
    assert (number, compiled) == (first, True)
    again = "imported again" in what
    # Others may still hold what such a module was before: its code is used, and not kept.
    assert ("run again since they were imported" in said) == again
    assert len(entries_in(tmp_path / "cache")) == 1 - again
    assert finish(start(root, tmp_path / "cache")) == (second, True, "")


def test_bytecode_older_than_its_source(root: Path, tmp_path: Path) -> None:
    """Python runs it where size and second of the source are the same; its code has a key of its own."""
    path = formulas(root)
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(path)], check=True)
    when, text = path.stat(), path.read_text()
    path.write_text(text.replace("dy * negative_slope", "dy * 3.0           "))
    os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))
    assert finish(start(root, tmp_path / "cache"))[:2] == (-1.0, True)
    shutil.rmtree(path.parent / "__pycache__")
    assert finish(start(root, tmp_path / "cache"))[:2] == (-6.0, True)


def test_processes_at_once_compile_once(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    found = [finish(process) for process in [start(root, cache) for _ in range(3)]]
    assert sorted(found) == [(-1.0, False, ""), (-1.0, False, ""), (-1.0, True, "")]
    (file,) = entries_in(cache)
    assert {p.suffix for p in file.parent.iterdir()} == {".bin", ".lock"}  # nothing left aside
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 16
    for data in (damaged, damaged[:1000]):
        file.write_bytes(data)
        assert finish(start(root, cache)) == (-1.0, True, "")
    assert finish(start(root, cache)) == (-1.0, False, "")


def test_a_folder_that_cannot_be_used(root: Path, tmp_path: Path) -> None:
    """It is said once, and the program has its code."""
    (tmp_path / "file").write_text("")
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    for cache, reason in (
        (tmp_path / "file" / "cache", "Not a directory"),
        (open_to_all, "others can write to .*open"),
        ("cache", "depends on the current folder"),
    ):
        number, compiled, said = finish(start(root, cache))
        assert (number, compiled) == (-1.0, True)
        assert re.fullmatch(
            f"Compiled code is not kept on disk: .*{reason}.* Each program compiles the engine again.", said
        )
    assert list(open_to_all.iterdir()) == []
    assert not (root / "cache").exists()


def test_the_key_covers_every_module() -> None:
    import scratchnn.engine.cache as cache

    folder = cache.cache_folder()
    for room in ("functional", "engine"):
        for path in (PACKAGE / room).glob("*.py"):
            name = f"scratchnn.{room}.{path.stem}".removesuffix(".__init__")
            # as Python compiles it today: with each of its lines, though not where they are
            assert code_digest(imported._CODES[name]) == digest_of(path.read_text())
    assert folder == cache.cache_folder()


def digest_of(text: str) -> str:
    return code_digest(compile(text, "file.py", "exec", dont_inherit=True))


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("def f(x): return x + 1", "# comment\n\ndef f(x):\n    return x + 1", True),
        ("def f(x): return x + 1", "def f(x): return x + 2", False),
        ("def f(x): return x + 1", "def f(x): return x - 1", False),
        ("def f(x): return x + 1", "def f(x): return x + 1.0", False),
        ("def f(x): return x * 0.0", "def f(x): return x * -0.0", False),
        ("def f(x): return x == 1", "def f(x): return x == True", False),
        ("def f(x, y=1): return x", "def f(x, y=2): return x", False),
        ("def f(x, y): return x", "def f(y, x): return x", False),
        ("def f(x): return exp(x)", "def f(x): return log(x)", False),
        ("def f():\n def g(): return 1\n return g", "def f():\n def g(): return 2\n return g", False),
        ("x = {'a', 'b'} & y", "x = {'a', 'c'} & y", False),
        ("f = x in {'a', 'b', 'c'}", "f = x in {'c', 'b', 'a'}", True),
        ("for op, name in {1: 'fadd'}.items(): g(op)", "for op, name in {1: 'fsub'}.items(): g(op)", False),
    ],
)
def test_what_changes_the_hash_of_code(before: str, after: str, same: bool) -> None:
    assert (digest_of(before) == digest_of(after)) == same


def test_a_hash_of_code_is_the_same_in_every_process() -> None:
    """Whatever the seed of strings' hashes, from source or from bytecode, before it was run and after."""
    program = "from scratchnn import imported; import scratchnn.engine.plan; print(imported.code_key())"
    found = set()
    for seed in "12":
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


@pytest.mark.parametrize("option", ["OPT", "BOUNDSCHECK"])
def test_the_key_knows_what_numba_compiles_for(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from scratchnn.engine import cache

    key = cache._key.__wrapped__  # not as it is kept for this process
    before = key()
    with monkeypatch.context() as changed:
        changed.setattr(cache.config, option, 1)
        assert key() != before
    with monkeypatch.context() as changed:
        codegen = cache.cpu_target.target_context.codegen()
        changed.setattr(type(codegen), "_get_host_cpu_name", lambda self: "another")
        assert key() != before
    assert key() == before


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


FORK = """
import os, signal, threading
import numpy as np
from numba import njit, types
from scratchnn.engine.cache import compiled

signature = (types.Array(types.float64, 1, "C"),)
begun, forked = threading.Event(), threading.Event()

def tell(text):  # called while the thread compiles
    begun.set()
    forked.wait(0.5)

@njit
def one(x):
    return x.sum()

@njit
def two(x):
    return 2 * x.sum()

thread = threading.Thread(target=lambda: compiled(one, "one", signature, "one", tell))
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(30)  # a child that waits for a lock of that thread would wait for ever
    kernel, seconds = compiled(two, "two", signature)
    os._exit(int(kernel(np.ones(3)) != 6))
forked.set()
thread.join()
kernel, seconds = compiled(one, "one", signature)
assert kernel(np.ones(3)) == 3
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_fork_while_a_thread_compiles(tmp_path: Path) -> None:
    environment = {**os.environ, "SCRATCHNN_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", FORK], check=True, env=environment, timeout=120)


def test_threads_that_want_the_engine_at_once_all_get_it() -> None:
    subprocess.run([sys.executable, "-c", THREADS], check=True, cwd=Path(__file__).parent.parent)
