"""Devices, FIFOs, sockets and folders are neither replaced nor read; a disk that takes nothing loses none."""

from __future__ import annotations

import errno
import importlib
import inspect
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import scratchnn as snn
from scratchnn import studies
from scratchnn.files import atomic, model_file
from scratchnn.files.atomic import open_regular, regular_target, write_atomically
from tests.files_and_nodes import nodes, tools

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")

PROGRAM = Path(__file__).parent / "files_and_nodes.py"
PATHS = {"path", "file", "filename", "folder", "out", "image", "checkpoint"}
# Public names that take a path, and how they are covered here.
COVERED = {
    ("scratchnn", "load", "path"): "load",
    ("scratchnn", "Recording.load", "path"): "Recording.load",
    ("scratchnn.studies.regions", "read_image", "path"): "read_image",
    **{
        ("scratchnn", name, "checkpoint" if name == "fit" else "path"): name
        for name in (
            "save", "export_onnx", "Trace.save", "Trace.to_csv",
            "ModelCheckpoint", "Checkpoint", "fit", "Recording",
        )
    },
    ("scratchnn.plots", "save", "path"): "plots.save",
    ("scratchnn.plots", "animate", "path"): "plots.animate",
    ("scratchnn.show", "save_trace", "path"): "save_trace",
    # The path of a module in a model, not of a file.
    ("scratchnn.trace", "Step", "path"): None,
    ("scratchnn.notation", "Indexed", "path"): None,
    ("scratchnn.notation", "Name", "path"): None,
    # Folders: what is written in them goes through plots.save and write_atomically, see below.
    ("scratchnn.studies.pages", "gallery", "folder"): None,
    ("scratchnn.studies.pages", "write", "folder"): None,
    ("scratchnn.studies.pages", "write_gallery", "folder"): None,
    **{(f"scratchnn.studies.{name}", "run", "out"): None for name in studies.NAMES},
    ("scratchnn.studies.drawing", "run", "image"): "read_image",
}  # fmt: skip


@pytest.fixture(scope="module")
def attempts() -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        cwd=PROGRAM.parent.parent,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent.parent)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr  # a call that hangs is ended by its alarm
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_every_function_that_takes_a_path_is_in_the_table() -> None:
    rooms = ["", ".files", ".plots", ".recording", ".show", ".trace", ".notation", ".doctor", ".gradcheck"]
    rooms += [
        ".estimators",
        ".studies",
        ".studies.pages",
        ".studies.regions",
        ".functional",
        ".losses",
        ".optim",
    ]
    found: dict[tuple[str, str], tuple[str, str, str]] = {}
    for module in map(importlib.import_module, [f"scratchnn{room}" for room in rooms]):
        for name in getattr(module, "__all__", dir(module)):
            for label, thing in public_names(name, getattr(module, name)):
                for parameter in parameters_of(thing) & PATHS:
                    origin = getattr(thing, "__qualname__", label)
                    key = (getattr(thing, "__module__", "") + origin, parameter)
                    found.setdefault(key, (module.__name__, label, parameter))
    for name in studies.NAMES:
        for parameter in parameters_of(studies.load(name).run) & PATHS:
            found[name, parameter] = (f"scratchnn.studies.{name}", "run", parameter)
    assert set(found.values()) == set(COVERED)
    writers, readers = tools()
    assert {*writers, *readers} == {*filter(None, COVERED.values()), "load into a model"}


def public_names(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    yield name, thing
    if inspect.isclass(thing):
        for inner in dir(thing):
            if not inner.startswith("_"):
                yield f"{name}.{inner}", getattr(thing, inner)


def parameters_of(thing: Any) -> set[str]:
    if inspect.ismodule(thing) or not callable(thing):
        return set()
    try:
        return set(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        return set()


def test_all_are_tried(attempts: list[dict[str, Any]]) -> None:
    writers, readers = tools()
    assert {attempt["tool"] for attempt in attempts} == {*writers, *readers}
    assert {attempt["node"] for attempt in attempts} >= set(nodes())


def test_what_is_no_regular_file_is_refused_in_words(attempts: list[dict[str, Any]]) -> None:
    for attempt in attempts:
        assert attempt["in words"], attempt
        # by the path, by what it leads to, or by the folder that is not there
        words = attempt["words"]
        assert any(name in words for name in ("node'", "link'", "missing'", attempt.get("path", "node'"))), (
            attempt
        )


def test_nothing_is_changed_and_nothing_left_behind(attempts: list[dict[str, Any]]) -> None:
    assert [attempt for attempt in attempts if attempt["changed"]] == []


# The shared check -------------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("mode", ["rb", "r+b", "w+b", "a+b"])
def test_opening(mode: str, here: Path) -> None:
    os.mkfifo("fifo")
    os.mkdir("folder")
    os.symlink("fifo", "link")
    for name, words in (
        ("fifo", "Is a FIFO, not a regular"),
        ("link", "Is a FIFO"),
        ("folder", "Is a folder"),
    ):
        with pytest.raises(OSError, match=rf"{words}.*'{name}'"):
            open_regular(name, mode)
    if mode in ("rb", "r+b"):
        with pytest.raises(FileNotFoundError):
            open_regular("file", mode)
    Path("file").write_bytes(b"abc")
    os.symlink("file", "way")
    with open_regular("way", mode) as file:
        if mode == "rb":
            assert file.read() == b"abc"
            return
        file.write(b"de")
    assert Path("file").read_bytes() == {"r+b": b"dec", "w+b": b"de", "a+b": b"abcde"}[mode]
    assert Path("way").is_symlink()


def test_what_takes_the_place_of_a_file_after_the_check(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FIFO that comes between looking and opening is seen by what was opened, and is not waited for."""
    Path("file").touch()
    look = os.stat

    def slow(path: Any, **options: Any) -> os.stat_result:
        found = look(path, **options)
        if path == "file" and stat.S_ISREG(found.st_mode):
            os.unlink("file")
            os.mkfifo("file")
        return found

    monkeypatch.setattr(atomic.os, "stat", slow)
    with pytest.raises(OSError, match="Is a FIFO"):
        open_regular("file")


def test_what_takes_the_place_of_a_file_while_it_is_written(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    flush = os.fsync

    def slow(handle: int) -> None:
        flush(handle)
        os.unlink("file")
        os.mkfifo("file")

    monkeypatch.setattr(atomic.os, "fsync", slow)
    with pytest.raises(OSError, match=r"Is a FIFO.*file'") as caught:
        write_atomically("file", b"data")
    assert "is as it was before" in caught.value.__notes__[0]
    assert os.listdir() == ["file"]


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="open files have no names here")
def test_a_model_is_read_from_the_file_that_was_checked(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("safetensors")
    snn.save(snn.Linear(2, 3), "model")
    check = model_file._check_header

    def slow(path: Any, file: Any) -> None:
        check(path, file)
        os.unlink("model")
        os.mkfifo("model")

    monkeypatch.setattr(model_file, "_check_header", slow)
    assert repr(snn.load("model")) == repr(snn.Linear(2, 3))


def test_names_that_are_no_place_for_a_file(here: Path) -> None:
    for path, kind in (
        ("", FileNotFoundError),
        ("new/", IsADirectoryError),
        ("none/file", FileNotFoundError),
    ):
        with pytest.raises(kind):
            regular_target(path)
    os.symlink("loop", "loop")
    with pytest.raises(OSError, match="loop") as caught:
        regular_target("loop")
    assert caught.value.errno == errno.ELOOP
    os.symlink("new", "way")
    assert regular_target("way") == os.path.realpath("new")  # a link may name a file that is not there yet


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="open files have no names here")
def test_an_open_file_is_no_place(here: Path) -> None:
    """Who holds it open, a shell that collects output in it, would keep the old one."""
    with open("log", "w") as log:
        for path in (f"/dev/fd/{log.fileno()}", f"/proc/self/fd/{log.fileno()}"):
            if os.path.exists(path):
                with pytest.raises(OSError, match=r"Is an open file's number"):
                    write_atomically(path, b"data")
    write_atomically("log", b"data")
    assert Path("log").read_bytes() == b"data"


# Disks ------------------------------------------------------------------------------------------------

LIMITED = """
import json, os, resource, sys
from tests.files_and_nodes import tools
writers = {name: call for name, call in tools()[0].items() if name not in sys.argv[2:]}
for name, call in writers.items():
    os.makedirs(name)
    call(f"{name}/file")
before = {name: open(f"{name}/file", "rb").read() for name in writers}
if sys.argv[1] == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
else:
    for name in writers:
        os.chmod(name, 0o555)
    if os.geteuid() == 0:  # nothing is read-only to root
        os.seteuid(65534)
found = {}
for name, call in writers.items():
    try:
        call(f"{name}/file")
        raised, words = "", ""
    except Exception as error:
        raised, words = type(error).__name__, str(error)
    same = open(f"{name}/file", "rb").read() == before[name]
    found[name] = [raised, words, same, os.listdir(name)]
print(json.dumps(found))
"""
# These grow, or begin with what is there: what they do on a full disk is tested with them.
OF_A_RUN = ["Checkpoint", "fit", "Recording"]
DRAWN = ["plots.animate"]  # first, with fonts that another user may not read


@pytest.mark.parametrize(
    ("disk", "raised", "words"),
    [("full", "OSError", "File too large"), ("read-only", "PermissionError", "Permission denied")],
)
def test_a_disk_that_takes_nothing(disk: str, raised: str, words: str) -> None:
    pytest.importorskip("resource")
    with tempfile.TemporaryDirectory() as folder:  # one that another user may enter
        os.chmod(folder, 0o755)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", LIMITED, disk, *OF_A_RUN, *DRAWN],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(PROGRAM.parent.parent)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert len(found) == len(tools()[0]) - len(OF_A_RUN + DRAWN)
        for name, (kind, said, same, files) in found.items():
            assert (kind, same, files) == (raised, True, ["file"]), name
            assert re.fullmatch(rf"\[Errno \d+\] {words}: '{os.path.realpath(folder)}/{name}/file'", said), (
                said
            )
