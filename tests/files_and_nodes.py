"""Every writer and every reader of files, on paths where there is no regular file. Not a test by itself.

    python tests/files_and_nodes.py

In a temporary folder of its own. Prints a JSON list: writer, kind of node, what was raised, and what changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import scratchnn as snn
from scratchnn.show import save_trace
from scratchnn.studies import StudyError
from scratchnn.studies.regions import read_image

X, Y = np.eye(8, 2, dtype=np.float32), np.ones((8, 1), np.float32)
SECONDS = 60  # that one call may take; it takes milliseconds, or waits for ever


def fit(**options: Any) -> None:
    model = snn.MLP(2, 2, 1)
    optimizer = snn.SGD(model.parameters(), lr=0.1)
    snn.fit(model, snn.MSELoss(), optimizer, (X, Y), 2, engine="numpy", progress=False, **options)


def tools() -> tuple[dict[str, Callable[[str], Any]], dict[str, Callable[[str], Any]]]:
    """Writers and readers by the names under which they are public."""
    model = snn.MLP(2, 2, 1)
    trace = snn.trace(model, snn.MSELoss(), X, Y)
    figure = snn.plots.loss_curve([1.0, 0.5]).figure
    recording = snn.Recording()
    fit(callbacks=[recording])
    writers: dict[str, Callable[[str], Any]] = {
        "save": lambda path: snn.save(model, path),
        "export_onnx": lambda path: snn.export_onnx(model, path),
        "Trace.save": trace.save,
        "Trace.to_csv": trace.to_csv,
        "save_trace": lambda path: save_trace(trace, path),
        "plots.save": lambda path: snn.plots.save(figure, path),
        "plots.animate": lambda path: snn.plots.animate(recording, path, X, Y),
        "ModelCheckpoint": lambda path: fit(callbacks=[snn.ModelCheckpoint(path)]),
        "Checkpoint": lambda path: fit(checkpoint=snn.Checkpoint(path)),
        "fit": lambda path: fit(checkpoint=path),
        "Recording": lambda path: fit(callbacks=[snn.Recording(path=path)]),
    }
    readers: dict[str, Callable[[str], Any]] = {
        "load": snn.load,
        "load into a model": lambda path: snn.load(path, model=model),
        "Recording.load": snn.Recording.load,
        "read_image": read_image,
    }
    return writers, readers


def special(path: str, kind: int, *device: int) -> None:
    os.mknod(path, 0o666 | kind, *device)


def nodes() -> dict[str, Callable[[], Any]]:
    """Ways to make what is not a regular file, named "node", in the current folder."""

    def bind() -> None:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("node")

    made: dict[str, Callable[[], Any]] = {
        "FIFO": lambda: os.mkfifo("node"),
        "socket": bind,
        "folder": lambda: os.mkdir("node"),
    }
    if os.geteuid() == 0:  # only root makes devices
        made["device"] = lambda: special("node", stat.S_IFCHR, os.makedev(1, 3))  # as /dev/null
        made["block device"] = lambda: special("node", stat.S_IFBLK, os.makedev(7, 200))  # of no driver
    return made


def snapshot() -> list[Any]:
    """All there is below the current folder: kinds, modes, sizes, numbers."""
    found = []
    for path in sorted(Path().rglob("*")):
        status = path.lstat()
        link = os.readlink(path) if path.is_symlink() else ""
        found.append([str(path), status.st_mode, status.st_rdev, status.st_size, status.st_ino, link])
    return found


def attempt(call: Callable[[str], Any], path: str) -> dict[str, Any]:
    """What a call with this path raises, and whether anything changed."""
    before = snapshot()
    signal.alarm(SECONDS)
    try:
        call(path)
        raised, words, in_words = "", "", False
    except Exception as error:
        raised, words = type(error).__name__, str(error)
        in_words = isinstance(error, (OSError, StudyError))
    signal.alarm(0)
    return {"raised": raised, "words": words, "in words": in_words, "changed": snapshot() != before}


def main() -> None:
    warnings.simplefilter("ignore")
    results = []
    writers, readers = tools()
    for name, call in [*writers.items(), *readers.items()]:
        for kind, make in nodes().items():
            for link in (False, True):
                with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
                    make()
                    os.symlink("node", "link")
                    found = attempt(call, "link" if link else "node")
                    results.append({"tool": name, "node": f"link to a {kind}" if link else kind, **found})
        if name in readers:
            continue
        for kind in (
            "link into a missing folder",
            "link to itself",
            "an open pipe",
            "an open file",
            "folder/",
        ):
            with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
                os.symlink({"link to itself": "node"}.get(kind, "missing/node"), "node")
                os.mkfifo("pipe")
                Path("file").touch()
                handle = os.open("pipe" if "pipe" in kind else "file", os.O_RDWR)
                path = f"/dev/fd/{handle}" if "open" in kind else "new/" if "/" in kind else "node"
                results.append({"tool": name, "node": kind, **attempt(call, path), "path": path})
                os.close(handle)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
