"""Runs that survive: killed, resumed, on a full disk; the end is that of a run that was never interrupted."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from file_cases import equal_models
from kept import Scaled, small
from killed import EPOCHS, figures, program

import scratchnn as snn
from scratchnn.checkpoint.keeper import KIND
from scratchnn.files import FileFormatError
from scratchnn.files.state_file import read_state, write_state

ENGINES = ("numpy", "numba")
ROOT = Path(__file__).parent.parent
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
}


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **ONE_THREAD},
    )


def same(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert second[name].dtype == value.dtype
        assert second[name].tobytes() == value.tobytes(), name


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("engine", ENGINES)
def test_killed_at_fifty_random_moments(engine: str, tmp_path: Path) -> None:
    """SIGKILL, some of them in the middle of writing; parameters and history end exactly equal."""
    done = run_python(str(ROOT / "tests" / "killed.py"), engine, str(tmp_path), "50")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "50 kills" in done.stdout


@pytest.mark.parametrize("engine", ENGINES)
def test_goes_on_in_another_process(engine: str, tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    done = run_python("-c", f"from killed import program; program({engine!r}, {str(path)!r}, epochs=9)")
    assert done.returncode == 0, done.stderr
    assert read_state(KIND, path)["epoch"] == 9
    snn.manual_seed(999)
    same(figures(*program(engine)), figures(*program(engine, path)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cut", [1, 2, EPOCHS - 1])
def test_whole_epochs_later_or_sooner(engine: str, cut: int, tmp_path: Path) -> None:
    """Without anything that looks at each epoch the compiled engine makes many in one call: the same run."""

    def plain(epochs: int, checkpoint: Any = None) -> Any:
        snn.manual_seed(0)
        rng = np.random.default_rng(0)
        X, y = rng.standard_normal((50, 3)), rng.standard_normal((50, 1))
        model = snn.Sequential(
            snn.Linear(3, 5, dtype=np.float64), snn.ReLU(), snn.Linear(5, 1, dtype=np.float64)
        )
        optimizer = snn.SGD(model.parameters(), lr=0.05, momentum=0.9)
        loader = snn.DataLoader(snn.TensorDataset(X, y), batch_size=16, shuffle=True)
        schedule = snn.MultiStepLR(optimizer, [3, 3, 7])
        history = snn.fit(
            model, snn.MSELoss(), optimizer, loader, epochs, engine=engine, progress=False,
            scheduler=schedule, checkpoint=checkpoint,
        )  # fmt: skip
        return {**figures(model, history), "lr": np.array(schedule.get_last_lr()), "next": snn.rand(2)}

    path = tmp_path / "run.safetensors"
    plain(cut, path)
    same(plain(EPOCHS), plain(EPOCHS, path))
    # of a run that is through nothing is left to do, but everything is there
    again = plain(EPOCHS, path)
    same(plain(EPOCHS), again)


def test_how_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []

    def note(owner: str, kind: str, path: Any, state: dict[str, Any]) -> None:
        written.append(state["epoch"])
        write_state(owner, kind, path, state)

    monkeypatch.setattr("scratchnn.files.state_file.write_state", note)
    for engine in ENGINES:
        program(engine, snn.Checkpoint(tmp_path / f"{engine} 5", every_epochs=5), epochs=12)
        assert written == [0, 5, 10, 12]
        written.clear()
        program(engine, snn.Checkpoint(tmp_path / f"{engine} 0", every_seconds=0), epochs=3)
        assert written == [0, 1, 2, 3]
        written.clear()
        program(engine, tmp_path / f"{engine} default", epochs=3)
        assert written == [0, 3]
        written.clear()
    with pytest.raises(ValueError, match="every_epochs"):
        snn.Checkpoint("run", every_epochs=0)
    with pytest.raises(ValueError, match="every_seconds=-1"):
        snn.Checkpoint("run", every_seconds=-1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stopped_run_stays_stopped(engine: str, tmp_path: Path) -> None:
    def stopped(checkpoint: Any) -> Any:
        snn.manual_seed(0)
        model = snn.Sequential(snn.Linear(1, 1))
        optimizer = snn.SGD(model.parameters(), lr=0.5)
        X = np.ones((4, 1), np.float32)
        stopping = snn.EarlyStopping(patience=3, min_delta=1e-3)
        history = snn.fit(
            model, snn.MSELoss(), optimizer, (X, X), 200, engine=engine, progress=False,
            callbacks=[stopping], checkpoint=checkpoint,
        )  # fmt: skip
        return figures(model, history), stopping

    path = tmp_path / "run.safetensors"
    first, stopping = stopped(path)
    second, again = stopped(path)
    assert len(first["history train_loss"]) == stopping.stopped_epoch == again.stopped_epoch < 100
    same(first, second)


# ---- full disks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_a_full_disk(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC in the middle of a file: the old one is whole, a warning says so, and the run ends as ever."""
    path = tmp_path / "run.safetensors"
    program(engine, path, epochs=4)
    old = path.read_bytes()

    class Full:
        def __init__(self, *arguments: Any) -> None:
            self.file = open(*arguments)  # noqa: SIM115

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *exception: Any) -> None:
            self.file.close()

        def write(self, data: bytes) -> None:
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("scratchnn.files.atomic.open", Full, raising=False)
    with pytest.warns(RuntimeWarning) as warned:
        result = figures(*program(engine, snn.Checkpoint(path, every_epochs=10)))
    messages = [str(warning.message) for warning in warned]
    assert len(messages) >= 2
    assert "after epoch 14: [Errno 28] No space left on device" in messages[0]
    assert f"The file {path} is whole and still that of epoch 4" in messages[0]
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == [path.name]
    same(figures(*program(engine)), result)
    with pytest.raises(OSError, match="No space left on device") as refused:  # nowhere to begin
        program(engine, tmp_path / "another.safetensors")
    assert "Nothing was written" in refused.value.__notes__[0]
    # room again: it goes on from epoch 4
    monkeypatch.undo()
    same(result, figures(*program(engine, path)))


LIMITED = """
import resource, sys, warnings
from killed import figures, program
import scratchnn as snn
path = sys.argv[1]
program("numpy", path, epochs=4)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    program("numpy", path)
print(caught[0].message)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_limit_of_the_operating_system(tmp_path: Path) -> None:
    """Here the kernel itself refuses to write beyond 4096 bytes."""
    path = tmp_path / "run.safetensors"
    done = run_python("-c", LIMITED, str(path))
    assert done.returncode == 0, done.stderr
    assert "File too large" in done.stdout
    assert "is whole and still that of epoch 4" in done.stdout
    assert read_state(KIND, path)["epoch"] == 4
    assert os.listdir(tmp_path) == [path.name]


# ---- refusals -------------------------------------------------------------------------------------


def test_strange_parameters(tmp_path: Path) -> None:
    model = snn.Sequential(snn.Linear(2, 1))
    more = snn.SGD([*model.parameters(), snn.Parameter(np.zeros(1, np.float32))], lr=0.1)
    with pytest.raises(ValueError, match="parameters that are not the model's"):
        snn.fit(
            model,
            snn.MSELoss(),
            more,
            ([[1.0, 2.0]], [[1.0]]),
            1,
            checkpoint=tmp_path / "run",
            progress=False,
        )


def test_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    program("numpy", path, epochs=2)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    for data in (b"", whole[:100], whole[:-1], bytes(flipped), b"no checkpoint at all"):
        path.write_bytes(data)
        with pytest.raises(FileFormatError, match=r"run\.safetensors"):
            program("numpy", path, epochs=3)
        assert path.read_bytes() == data
    snn.save(snn.Linear(1, 1), path)
    with pytest.raises(FileFormatError, match="it holds no checkpoint"):
        program("numpy", path, epochs=3)
    with pytest.raises(FileNotFoundError, match="No such folder"):
        program("numpy", tmp_path / "none" / "run.safetensors", epochs=3)


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r'fit needs .* pip install "scratchnn\[export\]"'):
        program("numpy", tmp_path / "run.safetensors", epochs=1)


def test_the_model_of_a_checkpoint(tmp_path: Path) -> None:
    path, made = tmp_path / "run.safetensors", []
    small(path, prepare=lambda model, _: made.append(model))
    loaded = snn.load(path)
    assert equal_models(loaded, made[0])
    loaded[0].weight.data += 1  # type: ignore[index]
    assert snn.load(path, model=loaded) is loaded
    assert equal_models(loaded, made[0])
    with pytest.raises(RuntimeError, match="missing"):
        snn.load(path, model=snn.Linear(4, 16))


def test_the_model_of_a_checkpoint_of_ones_own_class(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    small(path, model=Scaled)
    with pytest.raises(
        FileFormatError, match=r"the checkpoint of a run.*only your code can build.*model=\.\.\."
    ):
        snn.load(path)
    fresh = Scaled()
    weight = read_state(KIND, path)["model"]["inner.weight"]
    assert snn.load(path, model=fresh).inner.weight.data.tobytes() == weight.tobytes()


# ---- the file -------------------------------------------------------------------------------------


def test_what_a_state_may_hold(tmp_path: Path) -> None:
    state = {
        "plain": [None, True, 3, -(2**70), 0.1, "text", {"is": "dict", "of": 3}],
        "numbers": [float("inf"), -float("inf"), 1e-320, -0.0],
        "nested": ({1: (2, [3])}, Counter({4: 2})),
        "arrays": {0: np.arange(3), "f": np.float32(0.1), "empty": np.empty((0, 2)), "b": np.array(True)},
        "more": [np.zeros((2, 3), np.uint8).T, np.array(np.nan, np.float32)],
    }
    path = tmp_path / "state"
    write_state("test", "thing", path, state)
    again = read_state("thing", path)
    assert str(again["numbers"]) == str(state["numbers"])
    assert again["plain"] == state["plain"]
    assert again["nested"] == state["nested"]
    assert isinstance(again["nested"][1], Counter)
    for first, second in zip(
        [*state["arrays"].values(), *state["more"]],  # type: ignore[attr-defined, misc]
        [*again["arrays"].values(), *again["more"]],
        strict=True,
    ):
        assert (type(first), first.dtype, first.shape) == (type(second), second.dtype, second.shape)
        np.testing.assert_array_equal(first, second)
    with pytest.raises(FileFormatError, match="it holds no checkpoint"):
        read_state("checkpoint", path)
    for wrong in ({1, 2}, object(), lambda: 0, np.zeros(1, "U3")):
        with pytest.raises(
            TypeError, match=r"test got thing/callbacks/0 of type .*; what a file keeps is numbers"
        ):
            write_state("test", "thing", path, {"callbacks": [wrong]})
    assert read_state("thing", path)["plain"] == state["plain"]


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "guide"}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "checkpoints.md").read_text(), re.S)
    assert len(blocks) == 3
    for block in blocks:
        exec(compile(block, "checkpoints.md", "exec"), names)
    assert (tmp_path / "run.safetensors").exists()
