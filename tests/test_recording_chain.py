"""The frames of a recording are a chain: what was changed, lost, doubled or moved is found, not loaded."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recorded import X, Y, adam, assert_equal, program, same_steps

import scratchnn as snn
from scratchnn.files import FileFormatError
from scratchnn.recording.frames import HEAD, NOWHERE, frame, frames
from scratchnn.recording.recorder import Recorder

both = pytest.mark.parametrize("engine", ["numpy", "numba"])


def pieces_of(path: Path) -> list[bytes]:
    data = path.read_bytes()
    with path.open("rb") as file:
        return [data[found.span.start : found.span.stop] for found in frames(str(path), file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("whole") / "run.rec"
    program("numpy", snn.Recording(path=path), optimizer=adam)
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another run of the same program, from other weights."""
    path: Path = tmp_path_factory.mktemp("other") / "run.rec"
    program("numpy", snn.Recording(path=path), optimizer=adam, seed=4)
    return path


Change = Callable[[list[bytes], list[bytes]], list[bytes]]
CHANGES: dict[str, Change] = {
    "the first frame removed": lambda ours, theirs: ours[1:],
    "one removed": lambda ours, theirs: [*ours[:7], *ours[8:]],
    "several removed": lambda ours, theirs: [*ours[:5], *ours[9:]],
    "one doubled": lambda ours, theirs: [*ours[:7], ours[6], *ours[7:]],
    "two exchanged": lambda ours, theirs: [*ours[:6], ours[7], ours[6], *ours[8:]],
    "one of another run": lambda ours, theirs: [*ours[:6], theirs[6], *ours[7:]],
    "the end of another run": lambda ours, theirs: [*ours[:6], *theirs[6:]],
    "another run appended": lambda ours, theirs: [*ours, *theirs],
    "itself appended": lambda ours, theirs: [*ours, *ours],
    "the last frame doubled": lambda ours, theirs: [*ours, ours[-1]],
}


@pytest.mark.parametrize("what", CHANGES)
def test_frames_that_are_not_in_their_place(what: str, whole: Path, other: Path, tmp_path: Path) -> None:
    path, ours = tmp_path / "run.rec", pieces_of(whole)
    assert len(ours) > 10
    changed = CHANGES[what](ours, pieces_of(other))
    path.write_bytes(b"".join(changed))
    with pytest.raises(
        FileFormatError, match=r"run\.rec is damaged at byte \d+: something was changed"
    ) as said:
        snn.Recording.load(path)
    # the cure that is named works
    at = int(str(said.value).split("at byte ")[1].split(":")[0])
    assert at == sum(len(a) for i, a in enumerate(changed) if changed[: i + 1] == ours[: i + 1])
    if at:
        assert f"cut the file to {at} bytes" in str(said.value)
        os.truncate(path, at)
        read = snn.Recording.load(path)
        complete = snn.Recording.load(whole)
        for step in read.steps.tolist():
            assert_equal(read.parameters(step), complete.parameters(step))


def test_a_bit_that_has_flipped_anywhere(whole: Path, tmp_path: Path) -> None:
    """The heads and the last frame too: nothing is taken for an end that is missing."""
    path, data = tmp_path / "run.rec", whole.read_bytes()
    starts = np.cumsum([0, *map(len, pieces_of(whole))])[:-1]
    heads = [int(start) + i for start in (starts[1], starts[8], starts[-1]) for i in range(HEAD.size)]
    rng = np.random.default_rng(0)
    for at in [*heads, *rng.integers(len(data), size=100).tolist(), len(data) - 1]:
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        with pytest.raises(FileFormatError, match=r"run\.rec"):
            snn.Recording.load(path)


def test_an_end_that_is_missing_or_zeros(whole: Path, tmp_path: Path) -> None:
    """What a killed process leaves, or a machine that lost its power: whole up to there."""
    path, pieces = tmp_path / "run.rec", pieces_of(whole)
    begun = b"".join(pieces[:9])
    path.write_bytes(begun)
    steps = snn.Recording.load(path).steps.tolist()
    assert steps == [*range(11)]
    for left in (pieces[9][:1], pieces[9][: HEAD.size], pieces[9][:-1], bytes(20), bytes(5000)):
        path.write_bytes(begun + left)
        assert snn.Recording.load(path).steps.tolist() == steps
    for left in (bytes(5000) + b"1", bytes(5000) + pieces[9]):
        path.write_bytes(begun + left)
        with pytest.raises(FileFormatError, match="damaged at byte"):
            snn.Recording.load(path)


def test_files_of_others(whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.rec"
    path.write_bytes(b"SNNR" + bytes(100))
    with pytest.raises(
        FileFormatError, match="of an older version of scratchnn, whose frames are not chained"
    ):
        snn.Recording.load(path)
    with pytest.raises(FileFormatError, match=r"it is a recording.*Recording\.load"):
        snn.load(whole)
    snn.save(snn.Linear(1, 1), path)
    with pytest.raises(FileFormatError, match="is no recording"):
        snn.Recording.load(path)


# ---- forged: the chain is right -------------------------------------------------------------------


def forged(whole: Path, path: Path, kind: str, **changes: Any) -> Path:
    """The file with other entries in its last frame of a kind, chained again."""
    data, last = b"", NOWHERE
    with whole.open("rb") as file:
        listed = list(frames(str(whole), file))
        chosen = [found for found in listed if found.kind == kind][-1]
        for found in listed:
            state = dict(found.state)
            if found is chosen:
                state |= {k: v(state[k]) if callable(v) else v for k, v in changes.items()}
            piece, digest = frame(found.kind, state, last.digest)
            last = last.then(len(piece), digest)
            data += piece
    path.write_bytes(data)
    return path


HUGE = 11 * 10**9  # losses of 44 GB
LAYOUT = {
    "dtype": "float32",
    "keys": [["parameter", "0.weight", ""]],
    "shapes": [[-8, -3]],
    "dtypes": ["float32"],
}
FORGED: dict[str, tuple[str, dict[str, Any]]] = {
    "a step before 0": ("leg", {"first": -1}),
    "no epochs": ("leg", {"epochs": 1.5}),
    "no engine": ("leg", {"engine": "abacus"}),
    "every 0": ("leg", {"every": 0}),
    "rows 0": ("leg", {"settings": lambda s: {**s, "data": {**s["data"], "rows": 0}}}),
    "batches below 0": ("leg", {"settings": lambda s: {**s, "data": {**s["data"], "batch_size": -3}}}),
    "steps an epoch": ("leg", {"settings": lambda s: {**s, "data": {**s["data"], "steps": 10**12}}}),
    "another generator": ("leg", {"settings": lambda s: {**s, "data": {**s["data"], "generator": "mine"}}}),
    "no draws": ("leg", {"settings": lambda s: {k: v for k, v in s.items() if k != "draws"}}),
    "words beyond a base": ("place", {"marks": [[0, 10**12]]}),
    "a base that is not there": ("place", {"marks": [[5, 0]]}),
    "no marks": ("place", {"marks": []}),
    "a place before the start": ("place", {"step": -1}),
    "a base of zeros": ("base", {"state": np.zeros(5056, np.uint8)}),
    "losses before the start": ("losses", {"first": -5}),
    "losses of text": ("losses", {"losses": "none"}),
    "a negative shape": ("rows", {"layout": LAYOUT}),
    "rows of another width": ("rows", {"layout": lambda v: {**v, "shapes": [[9, 3], *v["shapes"][1:]]}}),
    "steps below 0": ("rows", {"steps": lambda v: v - 9}),
    "words below 0": ("rows", {"words": lambda v: v - 9}),
    "an entry of a parameter": (
        "rows",
        {"layout": lambda v: {**v, "keys": [["parameter", "0.weight", "x"], *v["keys"][1:]]}},
    ),
    "a dtype of text": ("rows", {"layout": lambda v: {**v, "dtypes": ["U9", *v["dtypes"][1:]]}}),
}


@pytest.mark.parametrize("what", FORGED)
def test_frames_that_contradict_each_other(what: str, whole: Path, tmp_path: Path) -> None:
    kind, changes = FORGED[what]
    path = forged(whole, tmp_path / "run.rec", kind, **changes)
    with pytest.raises(
        FileFormatError, match=r"run\.rec holds a frame at byte \d+ that is not of this format"
    ):
        snn.Recording.load(path)


def test_numbers_that_ask_for_gigabytes(whole: Path, tmp_path: Path) -> None:
    """Of a file of 30 kB: what it cannot have made is refused where it is asked for."""
    path = tmp_path / "run.rec"
    read = snn.Recording.load(forged(whole, path, "losses", first=HUGE))
    with pytest.raises(ValueError, match=r"run\.rec lacks the losses of 10,999,999,980 steps"):
        _ = read.losses
    data = {"rows": HUGE, "steps": -(-HUGE // 32)}
    forged(whole, path, "leg", settings=lambda s: {**s, "data": {**s["data"], **data}})
    with pytest.raises(ValueError, match="a run over 11,000,000,000 rows"):
        snn.Recording.load(path).rows(3)
    read = snn.Recording.load(forged(whole, path, "rows", steps=lambda v: v + HUGE))
    with pytest.raises(ValueError, match="a block of more than"):
        read.rows(HUGE)
    architecture = {"type": "Linear", "in_features": 10**6, "out_features": 10**6, "bias": False}
    forged(whole, path, "leg", architecture={**architecture, "dtype": "float32"})
    with pytest.raises(FileFormatError, match="the model it describes has other parameters than its steps"):
        snn.Recording.load(path)


# ---- the file changes under a reader or a writer --------------------------------------------------


def test_a_file_that_is_replaced_under_a_reader(whole: Path, other: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.rec"
    shutil.copy(whole, path)
    read = snn.Recording.load(path)
    ours, theirs = read.parameters(9), snn.Recording.load(other).parameters(9)
    assert not np.array_equal(ours["0.weight"], theirs["0.weight"])
    for put in (
        lambda: shutil.copy(other, path),
        lambda: os.replace(shutil.copy(other, tmp_path / "x"), path),
    ):
        shutil.copy(whole, path)
        read = snn.Recording.load(path)
        read.parameters(9)
        put()
        assert_equal(read.parameters(9), ours)  # read before
        for ask, what in ((read.parameters, 20), (read.over_time, "0.weight"), (read.at, 0)):
            with pytest.raises(FileFormatError, match="replaced or changed; load it again"):
                ask(what)  # type: ignore[operator]
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read.gradients(20)


def test_a_file_that_was_changed_between_two_runs_of_a_recording(other: Path, tmp_path: Path) -> None:
    path = tmp_path / "run.rec"

    def append() -> None:
        path.write_bytes(path.read_bytes() + b"more")

    for change in (lambda: shutil.copy(other, path), append, path.unlink):
        recording = snn.Recording(path=path)
        model, optimizer, _ = program("numpy", recording, optimizer=adam)
        change()
        left = path.read_bytes() if path.exists() else None
        weight = model[0].weight.data.copy()
        with pytest.raises((FileFormatError, FileNotFoundError)):
            snn.fit(
                model, snn.BCEWithLogitsLoss(), optimizer, [(X, Y)], 2, callbacks=[recording],
                engine="numpy", progress=False,
            )  # fmt: skip
        assert np.array_equal(model[0].weight.data, weight)
        assert (path.read_bytes() if path.exists() else None) == left
        path.unlink(missing_ok=True)


# ---- a run that goes on has the steps of one that was never stopped -------------------------------


@both
@pytest.mark.parametrize("every", [1, 7])
@pytest.mark.parametrize("when", [2, 4, 5, "before the end is recorded", "finish"])
def test_a_killed_run_that_goes_on_keeps_the_same_steps(
    engine: str, every: int, when: Any, tmp_path: Path
) -> None:
    """After any epoch, and after the last one and its checkpoint: no step, no gradient is lost or added."""

    class Killer:
        def __call__(self, state: snn.FitState) -> None:
            if state.epoch == when:
                os.kill(os.getpid(), signal.SIGKILL)

        def finish(self, state: snn.FitState) -> None:
            if when == "finish":
                os.kill(os.getpid(), signal.SIGKILL)

    def run(recording: snn.Recording, **options: Any) -> snn.Recording:
        program(engine, recording, optimizer=adam, dropout=0.3, **options)
        return recording

    path, kept = tmp_path / "run.rec", snn.Checkpoint(tmp_path / "run.ck", every_epochs=1)
    whole = run(snn.Recording(every))
    child = os.fork()
    if not child:
        if when == "before the end is recorded":
            Recorder.end = lambda _: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[method-assign]
        run(snn.Recording(every, path=path), checkpoint=kept, callbacks=[Killer()])
        os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    recording = run(snn.Recording(every, path=path), checkpoint=kept)
    same_steps(whole, recording, 0)
    same_steps(whole, snn.Recording.load(path), 0)
    same_steps(recording, recording.fork(0), 0)


@both
def test_a_run_of_more_epochs_has_the_steps_of_one_that_was_longer(engine: str, tmp_path: Path) -> None:
    path, kept = tmp_path / "run.rec", tmp_path / "run.ck"
    whole = snn.Recording(7)
    program(engine, whole, epochs=8, optimizer=adam)
    for epochs in (3, 3, 8):
        recording = snn.Recording(7, path=path)
        program(engine, recording, epochs=epochs, optimizer=adam, checkpoint=kept)
    same_steps(whole, recording, 0)
    same_steps(whole, snn.Recording.load(path), 0)
    # in memory, and the same object again: it goes on where the run does
    again, kept = snn.Recording(7), tmp_path / "again.ck"
    for epochs in (3, 8):
        program(engine, again, epochs=epochs, optimizer=adam, checkpoint=kept)
    same_steps(whole, again, 0)


@both
def test_a_fork_of_a_run_that_went_on_begins_without_what_the_optimizer_had_later(
    engine: str, tmp_path: Path
) -> None:
    """In one process the optimizer is one and the same, and remembers the end of the first part."""
    recording, model = snn.Recording(), snn.Linear(3, 1)
    optimizer, data = adam(model.parameters()), (X, X[:, :1])
    for epochs in (3, 6):
        snn.fit(
            model, snn.MSELoss(), optimizer, data, epochs, engine=engine, callbacks=[recording],
            progress=False, checkpoint=tmp_path / "run",
        )  # fmt: skip
    assert recording.steps.tolist() == [*range(7)]
    for step in (0, 2, 4):
        same_steps(recording, recording.fork(step), step)
