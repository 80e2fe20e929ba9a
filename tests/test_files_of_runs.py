"""The files that a run writes: whose they are, where they are, and what they cost a run when they fail."""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kept import Counting, small

import scratchnn as snn
from scratchnn.checkpoint.keeper import KIND
from scratchnn.files.state_file import read_state


def every_epoch(path: Any) -> snn.Checkpoint:
    return snn.Checkpoint(path, every_epochs=1)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


# ---- one run at a time ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["checkpoint", "recording"])
def test_a_second_run_on_a_path_is_refused_and_the_first_is_not_disturbed(kind: str, tmp_path: Path) -> None:
    path, said = tmp_path / "run", []

    def options(*more: Any) -> dict[str, Any]:
        if kind == "checkpoint":
            return {"path": path, "callbacks": lambda: [*more]}
        return {"callbacks": lambda: [snn.Recording(path=path), *more]}

    def second(state: snn.FitState) -> None:
        """In this thread and in another: a run that is the same, and so would be right to go on."""

        def run() -> None:
            with pytest.raises(RuntimeError, match=f"fit got the {kind} {path}, which a run of this process"):
                small(**options())
            said.append(state.epoch)

        draws = snn.default_generator.get_state()
        run()
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        snn.default_generator.set_state(draws)

    history = small(**options(second))
    assert said == [1, 1, 2, 2, 3, 3]
    assert history.train_loss == small().train_loss
    assert names(tmp_path) == ["run"]
    assert small(**options()).epochs == 3  # nobody holds it any more


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_a_run_that_is_ended_lets_its_files_go(error: type[BaseException], tmp_path: Path) -> None:
    def end(state: snn.FitState) -> None:
        if state.epoch == 2:
            raise error

    files = tmp_path / "run.ck", tmp_path / "run.rec"
    for ending in (end, lambda state: None):
        recording = snn.Recording(path=files[1])
        try:
            history = small(every_epoch(files[0]), callbacks=lambda r=recording, e=ending: [r, e])
        except error:
            continue
    assert history.resumed == 1
    assert names(tmp_path) == ["run.ck", "run.rec"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("leaves", [True, False])
def test_a_forked_child_writes_nothing(leaves: bool, tmp_path: Path) -> None:
    """It has a copy of the run, which it leaves by `sys.exit` or goes on with: the files are its parent's."""
    memory, parent, children = snn.Recording(), os.getpid(), []

    def fork(state: snn.FitState) -> None:
        if os.getpid() != parent:
            return
        child = os.fork()
        if not child:
            state.model[0].weight.data += 1  # type: ignore[index]
            if leaves:
                sys.exit()
        else:
            children.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    small(callbacks=lambda: [memory])
    recording = snn.Recording(path=tmp_path / "run.rec")
    try:
        history = small(every_epoch(tmp_path / "run.ck"), callbacks=lambda: [recording, fork])
    except SystemExit:
        os._exit(7)
    if os.getpid() != parent:
        os._exit(7)
    assert children == [7, 7, 7]
    assert history.epochs == 3
    assert snn.compare_runs(memory, snn.Recording.load(tmp_path / "run.rec"))
    assert read_state(KIND, tmp_path / "run.ck")["epoch"] == 3
    assert names(tmp_path) == ["run.ck", "run.rec"]


# ---- one path, one purpose ------------------------------------------------------------------------


def uses(kind: str, path: Path) -> dict[str, Any]:
    return {
        "checkpoint": lambda: {"path": path},
        "Recording": lambda: {"callback": snn.Recording(path=path)},
        "ModelCheckpoint": lambda: {"callback": snn.ModelCheckpoint(path)},
    }[kind]()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("checkpoint", "Recording"),
        ("checkpoint", "ModelCheckpoint"),
        ("Recording", "ModelCheckpoint"),
        ("ModelCheckpoint", "ModelCheckpoint"),
    ],
)
@pytest.mark.parametrize("spelling", ["run", "link", "folder/run", "hard"])
def test_one_path_for_two_purposes(first: str, second: str, spelling: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_bytes(b"whatever")
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path)
    os.link(path, tmp_path / "hard")
    given = uses(first, path), uses(second, tmp_path / spelling)
    callbacks = [one["callback"] for one in given if "callback" in one]
    model = snn.Sequential(snn.Linear(2, 1))
    weight = model[0].weight.data.copy()
    draws = snn.default_generator.get_state()
    optimizer = snn.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match=f"one path for two purposes: .*{first} and {second} would both"):
        snn.fit(
            model, snn.MSELoss(), optimizer, (np.ones((4, 2), "f4"), np.ones((4, 1), "f4")), 2,
            engine="numpy", progress=False, callbacks=callbacks, checkpoint=given[0].get("path"),
        )  # fmt: skip
    assert np.array_equal(weight, model[0].weight.data)
    assert np.array_equal(draws, snn.default_generator.get_state())
    assert path.read_bytes() == b"whatever"
    assert names(tmp_path) == ["folder", "hard", "link", "run"]


def test_a_name_with_the_epoch_in_it(tmp_path: Path) -> None:
    best = snn.ModelCheckpoint(tmp_path / "model-{epoch}.st", save_best_only=False)
    with pytest.raises(ValueError, match="two purposes: the checkpoint and ModelCheckpoint"):
        small(tmp_path / "model-2.st", callbacks=lambda: [best])
    small(tmp_path / "model.st", callbacks=lambda: [best])
    assert names(tmp_path) == ["model-1.st", "model-2.st", "model-3.st", "model.st"]


# ---- where they are -------------------------------------------------------------------------------


def test_relative_paths_stay_where_they_were_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()

    def run(path: Any, epochs: int, *more: Any) -> snn.History:
        monkeypatch.chdir(here)
        saved = snn.ModelCheckpoint("best.st", save_best_only=False)
        return small(path, epochs=epochs, callbacks=lambda: [snn.Recording(path="run.rec"), *more, saved])

    monkeypatch.chdir(here)
    for path in ("run.ck", every_epoch("run.ck")):
        run(path, 3, lambda state: os.chdir(there))
        assert names(there) == []
        assert names(here) == ["best.st", "run.ck", "run.rec"]
        history = run(path, 5)
        assert history.resumed == 3
        monkeypatch.chdir(there)
        assert len(snn.Recording.load(here / "run.rec")) == 16
        for file in here.iterdir():
            file.unlink()
    # a Checkpoint that is made before the program changes its folder
    monkeypatch.chdir(here)
    kept = snn.Checkpoint("run.ck")
    monkeypatch.chdir(there)
    small(kept)
    assert (names(here), names(there)) == (["run.ck"], [])
    assert kept.path == "run.ck"


def test_a_run_that_is_refused_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "run.ck"
    for recording in (
        snn.Recording(path=tmp_path / "none" / "run.rec"),
        snn.Recording(path=tmp_path),
        snn.Recording(path=tmp_path / "run.rec", max_bytes=10),
    ):
        with pytest.raises((OSError, ValueError)):
            small(path, callbacks=lambda r=recording: [r])
        assert names(tmp_path) == []
    # what was recorded before stays, where the next run is refused
    small(callbacks=lambda: [snn.Recording(path=tmp_path / "run.rec")])
    before = (tmp_path / "run.rec").read_bytes()
    with pytest.raises(FileNotFoundError):
        small(tmp_path / "none" / "run.ck", callbacks=lambda: [snn.Recording(path=tmp_path / "run.rec")])
    assert (tmp_path / "run.rec").read_bytes() == before


# ---- what callbacks remember ----------------------------------------------------------------------


class Log(Counting):
    """Grows by two million characters an epoch."""

    def __init__(self, size: int = 2_000_000) -> None:
        super().__init__()
        self.size, self.rows = size, ["start"]

    def __call__(self, state: snn.FitState) -> None:
        super().__call__(state)
        self.rows.append("x" * self.size)

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self.epochs = state["rows"], state["epochs"]


def warned(*arguments: Any, **options: Any) -> tuple[snn.History, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = small(*arguments, **options)
    assert {warning.category for warning in caught} <= {RuntimeWarning}
    return history, [str(warning.message) for warning in caught]


def test_a_state_too_large_for_the_file_costs_a_warning(tmp_path: Path) -> None:
    path, whole = tmp_path / "run", small(epochs=6)
    log, counting = Log(), Counting()
    history, said = warned(every_epoch(path), epochs=6, callbacks=lambda: [log, counting])
    assert (history.epochs, history.train_loss) == (6, whole.train_loss)
    assert len(said) == 1
    assert re.search(
        rf"the state of the callback Log out of its checkpoint {path}: its description takes 10,000,\d+ "
        "bytes, and that of a whole checkpoint at most 8,388,608: .*Training goes on",
        said[0],
    )
    kept = read_state(KIND, path)
    assert (kept["epoch"], kept["callbacks"]) == (6, [{"left out": "Log"}, {"state": {"epochs": 6}}])
    # gone on with: the others have theirs, and the one that lost its state is named
    log, counting = Log(), Counting()
    history, said = warned(every_epoch(path), epochs=8, callbacks=lambda: [log, counting])
    assert (history.resumed, log.epochs, counting.epochs) == (6, 2, 8)
    assert len(said) == 1
    assert re.search("had no room for the state of the callback Log: that begins anew", said[0])


def test_a_state_that_turns_into_something_no_file_holds(tmp_path: Path) -> None:
    class Odd(Counting):
        def __init__(self, from_: int) -> None:
            super().__init__()
            self.from_ = from_

        def state_dict(self) -> dict[str, Any]:
            return {"epochs": self.epochs, "seen": {1, 2} if self.epochs >= self.from_ else []}

    path = tmp_path / "run"
    with pytest.raises(TypeError, match="callbacks/0/state/seen of type set; what a file keeps is"):
        small(path, callbacks=lambda: [Odd(0)])
    assert names(tmp_path) == []
    history, said = warned(every_epoch(path), callbacks=lambda: [Odd(2)])
    assert history.epochs == read_state(KIND, path)["epoch"] == 3
    assert len(said) == 1
    assert re.search(r"the callback Odd out of its checkpoint .* of type set", said[0])


def test_a_run_about_to_diverge_keeps_the_checkpoint_of_before(tmp_path: Path) -> None:
    """A last step can leave infinities behind that no loss has shown yet: nobody could go on from them."""
    path = tmp_path / "run"

    def spoil(state: snn.FitState) -> None:
        if state.epoch == 2:
            state.model[0].weight.data[:] = np.inf  # type: ignore[index]

    with pytest.raises(snn.DivergenceError):
        small(every_epoch(path), callbacks=lambda: [spoil])
    assert read_state(KIND, path)["epoch"] == 1
    assert small(path).train_loss == small().train_loss
