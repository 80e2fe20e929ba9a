"""Locks on files: one holder in whatever process, thread or spelling, and nobody after its end."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from scratchnn.files import locks
from scratchnn.files.locks import Lock, refuse_shared

ROOT = Path(__file__).parent.parent
posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and flock")

HOLDS = """
import os, sys, time
from scratchnn.files.locks import Lock
lock = Lock("test", "the file", sys.argv[1])
if len(sys.argv) > 2 and not os.fork():
    time.sleep(60)
print("held", flush=True)
time.sleep(60)
"""


def holder(path: Path, *more: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path), *more],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    return child


def refused(path: Any, words: str) -> None:
    with pytest.raises(RuntimeError, match=f"fit got the checkpoint run, which a run of {words} is writing"):
        Lock("fit", "the checkpoint run", path)


def test_one_holder_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    (tmp_path / "link").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    with Lock("fit", "the checkpoint run", path) as lock:
        assert lock.mine
        for spelling in (path, "run", f"../{tmp_path.name}/run", tmp_path / "link"):
            refused(spelling, "this process")
        said: list[str] = []

        def other() -> None:
            try:
                Lock("fit", "the checkpoint run", path)
            except RuntimeError as error:
                said.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert len(said) == 1
        with Lock("fit", "another file", tmp_path / "other"):
            pass
    with pytest.raises(ZeroDivisionError), Lock("fit", "the checkpoint run", path):
        1 / 0  # noqa: B018
    with Lock("fit", "the checkpoint run", path):
        pass
    assert [*tmp_path.iterdir()] == [tmp_path / "link"]


@posix
def test_one_holder_among_processes_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    child = holder(path)
    refused(path, f"process {child.pid}")
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert len([*tmp_path.iterdir()]) == 1  # the lock file is left, and held by nobody
    with Lock("fit", "the checkpoint run", path):
        pass
    assert not [*tmp_path.iterdir()]


@posix
def test_the_children_of_a_killed_holder_do_not_hold_it(tmp_path: Path) -> None:
    path = tmp_path / "run"
    parent = holder(path, "and a child")
    refused(path, f"process {parent.pid}")
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    with Lock("fit", "the checkpoint run", path):
        pass
    os.killpg(parent.pid, signal.SIGKILL)  # the child, which sleeps
    parent.communicate()


@posix
def test_a_forked_child_cannot_give_the_lock_away(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with Lock("fit", "the checkpoint run", path) as lock:
        child = os.fork()
        if not child:
            wrong = lock.mine
            lock.release()
            try:
                Lock("fit", "the checkpoint run", path)
            except RuntimeError:
                os._exit(int(wrong))
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        refused(path, "this process")


@posix
@pytest.mark.parametrize("replaced", [False, True])
def test_a_lock_file_that_is_removed_meanwhile_is_no_lock(
    replaced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between opening it and locking it its holder may end, and another may make one: then that counts."""
    path, real, seen = tmp_path / "run", os.open, []

    def open_and_lose(name: Any, *arguments: Any) -> int:
        handle = real(name, *arguments)
        if not seen:
            os.unlink(name)
            if replaced:
                Path(name).write_bytes(b"")
        seen.append(name)
        return handle

    monkeypatch.setattr(os, "open", open_and_lose)
    with Lock("fit", "the checkpoint run", path):
        assert len(seen) == 2
        monkeypatch.undo()
        refused(path, "this process")
        with pytest.raises(RuntimeError, match=f"process {os.getpid()}"):
            locks._hold("fit", "the checkpoint run", seen[0])


def test_where_nothing_can_be_locked_the_runs_of_one_process_keep_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> int:
        raise PermissionError(errno.EACCES, "no new files")

    monkeypatch.setattr(os, "open", refuse)
    with Lock("fit", "the checkpoint run", tmp_path / "run"):
        refused(tmp_path / "run", "this process")
    monkeypatch.undo()
    monkeypatch.setattr(locks, "fcntl", None)
    with Lock("fit", "the checkpoint run", tmp_path / "run"):
        refused(tmp_path / "run", "this process")
    with pytest.raises(FileNotFoundError, match="No such folder"):
        Lock("fit", "the checkpoint run", tmp_path / "none" / "run")


def test_one_file_for_two_purposes_however_it_is_spelled(tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_bytes(b"1")
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "folder").symlink_to(tmp_path)
    os.link(path, tmp_path / "hard")
    refuse_shared("fit", [("a", str(path)), ("b", str(tmp_path / "other")), ("c", str(tmp_path / "run2"))])
    spellings = ["run", "./run", f"../{tmp_path.name}/run", "link", "folder/run", "hard", "folder/link"]
    for spelling in spellings:
        with pytest.raises(ValueError, match="one path for two purposes: the checkpoint and Recording would"):
            refuse_shared("fit", [("the checkpoint", str(path)), ("Recording", f"{tmp_path}/{spelling}")])
    # files that are not there yet
    new, epochs = str(tmp_path / "new"), str(tmp_path / "m-{epoch}.st")
    both = [
        (new, str(tmp_path / "folder" / "new")),
        (epochs, str(tmp_path / "m-12.st")),
        (str(tmp_path / "folder" / "m-3.st"), epochs),
        (epochs, epochs),
    ]
    for one, other in both:
        with pytest.raises(ValueError, match="two purposes"):
            refuse_shared("fit", [("a", one), ("b", other)])
    apart = [(epochs, str(tmp_path / "m-best.st")), (epochs, str(tmp_path / "m-03.st")), (new, f"{new}2")]
    for one, other in apart:
        refuse_shared("fit", [("a", one), ("b", other)])
