"""Recordings in files: readable whatever becomes of the process or the disk, and taken up again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded import X, Y, adam, assert_equal, program, same_steps

import scratchnn as snn
from scratchnn.files import FileFormatError

both = pytest.mark.parametrize("engine", ["numpy", "numba"])
ROOT = Path(__file__).parent.parent
OPTIONS: dict[str, Any] = {"dropout": 0.3, "optimizer": adam}


def run_python(program: str, *arguments: str) -> subprocess.Popen[str]:
    paths = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )


@both
def test_a_file_holds_what_memory_holds(engine: str, tmp_path: Path) -> None:
    memory, file = snn.Recording(), snn.Recording(path=tmp_path / "run.rec")
    program(engine, memory, **OPTIONS)
    program(engine, file, **OPTIONS)
    same_steps(memory, file, 0)
    same_steps(file, file.fork(7), 7)
    read = snn.Recording.load(tmp_path / "run.rec")
    same_steps(memory, read, 0)
    assert read.engine == engine
    assert_equal({n: p.data for n, p in read.at(9).named_parameters()}, memory.parameters(9))
    np.testing.assert_array_equal(read.rows(12), memory.rows(12))
    assert read.settings(12) == memory.settings(12)
    assert snn.compare_runs(memory, read)
    assert list(tmp_path.iterdir()) == [tmp_path / "run.rec"]
    with pytest.raises(ValueError, match="which has no loss and no data"):
        read.fork(7)


def test_a_file_that_was_read_goes_on_as_sparse_as_it_is(tmp_path: Path) -> None:
    """Without a word of having been full."""
    made = snn.Recording(every=2, path=tmp_path / "run.rec")
    model, optimizer, _ = program("numpy", made)
    read = snn.Recording.load(tmp_path / "run.rec")
    snn.fit(
        model,
        snn.BCEWithLogitsLoss(),
        optimizer,
        [(X, Y)],
        5,
        callbacks=[read],
        engine="numpy",
        progress=False,
    )
    assert read.steps.tolist() == [*range(0, 25, 2), 25, 26, 28, 30]
    assert snn.Recording.load(tmp_path / "run.rec").steps.tolist() == read.steps.tolist()


def test_the_file_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    memory, file = snn.Recording(), snn.Recording(path="run.rec", max_bytes=6000)
    program("numpy", memory)
    (tmp_path / "other").mkdir()
    with pytest.warns(RuntimeWarning, match="was full"):
        program("numpy", file, callbacks=[lambda state: os.chdir(tmp_path / "other")])
    assert file.every > 1
    assert_equal(file.parameters(8), memory.parameters(8))
    assert file.path == "run.rec"
    assert [p.name for p in sorted(tmp_path.rglob("*"))] == ["other", "run.rec"]


@both
def test_steps_are_in_the_file_while_the_run_goes(engine: str, tmp_path: Path) -> None:
    """After every epoch, as another process would find it."""
    path, seen = tmp_path / "run.rec", []

    def look(state: snn.FitState) -> None:
        seen.append(int(snn.Recording.load(path).steps[-1]))

    program(engine, snn.Recording(path=path), callbacks=[look])
    assert seen == [5, 10, 15, 20, 25]


@both
def test_what_was_written_before_a_kill_is_readable(engine: str, tmp_path: Path) -> None:
    whole = snn.Recording()
    program(engine, whole, epochs=400, **OPTIONS)
    text = (
        "import sys, scratchnn as snn; from recorded import program, adam; "
        "r = snn.Recording(path=sys.argv[2]); print('go', flush=True); "
        "program(sys.argv[1], r, epochs=400, dropout=0.3, optimizer=adam)"
    )
    for wait in (0.05, 0.2, 0.4):
        path = tmp_path / f"{wait}.rec"
        child = run_python(text, engine, str(path))
        assert child.stdout is not None
        child.stdout.readline()
        while not path.exists() or path.stat().st_size < 20_000:
            assert child.poll() is None
            time.sleep(0.005)
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        read = snn.Recording.load(path)
        assert len(read) > 1
        np.testing.assert_array_equal(read.steps, np.arange(len(read)))
        for step in {0, 1, len(read) // 2, len(read) - 1}:
            assert_equal(read.parameters(step), whole.parameters(step))
            assert_equal(read.gradients(step), whole.gradients(step))


def test_a_file_cut_anywhere_is_read_to_its_last_whole_frame(tmp_path: Path) -> None:
    path = tmp_path / "run.rec"
    whole = snn.Recording()
    program("numpy", whole, **OPTIONS)
    program("numpy", snn.Recording(path=path), **OPTIONS)
    data = path.read_bytes()
    sizes = set()
    for size in np.linspace(3000, len(data) - 1, 40).astype(int):
        path.write_bytes(data[:size])
        read = snn.Recording.load(path)
        sizes.add(len(read))
        last = int(read.steps[-1])
        assert_equal(read.parameters(last), whole.parameters(last))
        assert_equal(read.gradients(last), whole.gradients(last))
    assert sizes == {1, 6, 11, 16, 21, 26}
    flipped = bytearray(data)
    flipped[2000] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(FileFormatError, match="damaged at byte"):
        snn.Recording.load(path)
    for text in (
        b"",
        b"a text that is no recording at all, but is longer than one head of a frame is",
        data[:100],
    ):
        path.write_bytes(text)
        with pytest.raises(FileFormatError, match="no recording"):
            snn.Recording.load(path)
    with pytest.raises(FileNotFoundError):
        snn.Recording.load(tmp_path / "other.rec")


@both
def test_a_run_that_goes_on_from_its_checkpoint_goes_on_in_its_file(engine: str, tmp_path: Path) -> None:
    """The file may be ahead of the checkpoint: those steps are made, and written, once more."""
    path, checkpoint = tmp_path / "run.rec", tmp_path / "run.safetensors"
    whole = snn.Recording()
    program(engine, whole, **OPTIONS)

    class Killed(BaseException):
        pass

    def kill(state: snn.FitState) -> None:
        if state.epoch == 4:
            raise Killed

    with pytest.raises(Killed):
        program(
            engine, snn.Recording(path=path), callbacks=[kill],
            checkpoint=snn.Checkpoint(checkpoint, every_epochs=2), **OPTIONS,
        )  # fmt: skip
    assert snn.Recording.load(path).steps[-1] == 20
    recording = snn.Recording(path=path)
    program(engine, recording, checkpoint=snn.Checkpoint(checkpoint, every_epochs=2), **OPTIONS)
    same_steps(whole, recording, 0)
    same_steps(whole, snn.Recording.load(path), 0)
    for step in (3, 13):
        same_steps(recording, recording.fork(step), step)
    again = snn.Recording(path=path)
    program(engine, again, checkpoint=checkpoint, **OPTIONS)  # nothing is left to do
    same_steps(whole, again, 0)
    with pytest.raises(ValueError, match="of another run: data's numbers differ"):
        program(engine, snn.Recording(path=path), checkpoint=checkpoint, data=(X + 1, X[:, :1]), **OPTIONS)
    other = tmp_path / "other.rec"
    program(engine, snn.Recording(path=other), data=(X + 1, X[:, :1]), **OPTIONS)
    with pytest.raises(ValueError, match=r"the recording .*other\.rec of another run: its data is"):
        program(engine, snn.Recording(path=other), checkpoint=checkpoint, **OPTIONS)


@both
def test_a_full_disk_is_a_warning_and_the_training_is_not_lost(engine: str, tmp_path: Path) -> None:
    """The limit on a file's size stands for the disk's: writing fails in the middle of a frame."""
    text = """
import resource, sys, warnings
import numpy as np, scratchnn as snn
from recorded import program, adam, same_steps
model, _, _ = program(sys.argv[1], optimizer=adam)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
recording = snn.Recording(path=sys.argv[2])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    trained, _, history = program(sys.argv[1], recording, optimizer=adam)
said = [str(w.message) for w in caught]
assert len(said) == 1 and "could not write to" in said[0] and "the training goes on" in said[0], said
assert all((p.data == q.data).all() for p, q in zip(model.parameters(), trained.parameters()))
assert history.epochs == 5
print(len(recording), len(snn.Recording.load(sys.argv[2])))
"""
    path = tmp_path / "run.rec"
    program(engine, snn.Recording(path=path), optimizer=adam)
    limit = path.stat().st_size * (2 if engine == "numba" else 3) // 4
    child = run_python(text, engine, str(path), str(limit))
    out, error = child.communicate()
    assert child.returncode == 0, error
    kept, read = map(int, out.split())
    assert kept == read >= 1


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "no" / "run.rec"
    with pytest.raises(FileNotFoundError):
        program("numpy", snn.Recording(path=path))


@both
def test_a_full_file_is_thinned(engine: str, tmp_path: Path) -> None:
    memory, path = snn.Recording(max_bytes=4000), tmp_path / "run.rec"
    file = snn.Recording(path=path, max_bytes=4000)
    for recording in (memory, file):
        with pytest.warns(RuntimeWarning, match="one step in 16 now"):
            program(engine, recording, epochs=20)
    same_steps(memory, file, 0)
    read = snn.Recording.load(path)
    same_steps(memory, read, 0)
    assert read.every == 16
    assert list(tmp_path.iterdir()) == [path]


def test_a_second_fit_and_a_divergence_are_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.rec"
    recording = snn.Recording(path=path)
    snn.manual_seed(0)
    model = snn.Linear(3, 1)
    loader = snn.DataLoader(snn.TensorDataset(X * 1e4, X[:, :1]), batch_size=32, shuffle=True)
    for lr in (1e-12, 1e30):
        optimizer = snn.SGD(model.parameters(), lr=lr)
        with pytest.raises(snn.DivergenceError) if lr > 1 else contextlib.nullcontext():
            snn.fit(model, snn.MSELoss(), optimizer, loader, 2, callbacks=[recording], progress=False)
    read = snn.Recording.load(path)
    same_steps(recording, read, 0)
    assert read._made == recording._made == read.steps[-1]
    assert len(read.losses) == len(recording.losses) > read.steps[-1]
    assert read.settings(3)["groups"][0]["lr"] == 1e-12
    assert [leg.first for leg in read._legs] == [0, 10]
    # The losses of what was undone are no part of a run that goes on from there.
    optimizer = snn.SGD(model.parameters(), lr=1e-12)
    data = (X, X[:, :1])
    snn.fit(model, snn.MSELoss(), optimizer, data, 1, callbacks=[recording], progress=False)
    read = snn.Recording.load(path)
    assert read.losses.tobytes() == recording.losses.tobytes()
    assert len(read.losses) == 11
    assert np.isfinite(read.losses).all()


def test_a_module_of_ones_own_is_given_to_load(tmp_path: Path) -> None:
    class Own(snn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = snn.Linear(3, 1)

        def forward(self, x: Any) -> Any:
            return self.inner(x)

        def backward(self, dy: Any) -> Any:
            return self.inner.backward(dy)

    path, model = tmp_path / "run.rec", Own()
    recording = snn.Recording(path=path)
    data = (X, X[:, :1])
    snn.fit(
        model, snn.MSELoss(), snn.Adam(model.parameters()), data, 3, callbacks=[recording], progress=False
    )
    read = snn.Recording.load(path)
    with pytest.raises(ValueError, match=r"Recording\.load\(path, model=\.\.\.\)"):
        read.at(2)
    then = snn.Recording.load(path, model=Own()).at(2)
    assert_equal({n: p.data for n, p in then.named_parameters()}, recording.parameters(2))
    with pytest.raises(ValueError, match="is of a model with"):
        snn.Recording.load(path, model=snn.Linear(2, 1)).at(2)
