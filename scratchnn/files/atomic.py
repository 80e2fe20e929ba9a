"""Files that are whole at every moment: the old one, or the new one, never a part of either.

Only regular files are read, replaced or appended to. A device, a FIFO, a socket or a folder at the path is
refused: replacing a device breaks the machine, and reading a FIFO waits for ever. Whoever writes a whole file
calls `write_atomically`; whoever reads, appends to or locks one opens it with `open_regular`.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import re
import secrets
import shutil
import stat
from typing import IO, Any

__all__ = ["companion", "open_regular", "regular_target", "remove_leftovers", "write_atomically"]

KINDS = {
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
}
# Opening neither waits for the other end of a FIFO, nor makes a terminal ours.
CAREFUL = sum(getattr(os, name, 0) for name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"))
FLAGS = {
    "rb": os.O_RDONLY,
    "r+b": os.O_RDWR,
    "w+b": os.O_RDWR | os.O_CREAT,
    "a+b": os.O_RDWR | os.O_CREAT | os.O_APPEND,
}
MOST_LINKS = 40  # of a chain that is followed, as in Linux
DESCRIPTORS = re.compile(r"/proc/\d+(/task/\d+)?/fd|/dev/fd")


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` where `path` is: a new file in the same folder, flushed to the disk, then renamed.

    A link is followed, so the file it names is the one replaced; an existing file's mode is kept.

    Raises:
        OSError: no such folder, no permission, a full disk, or `path` is not of a regular file. What was at
            `path` before is then still there.
    """
    target = regular_target(path)
    folder = os.path.dirname(target)
    temporary = f"{_stem(target)}{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(target, temporary)
        regular_target(target)  # it may have changed while the data were written
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            error.filename = target  # what was asked for, not what it would have been made of
            del error.filename2
        error.add_note(f"Nothing was written: {target} is as it was before.")
        raise
    _flush_folder(folder)


def regular_target(path: str | os.PathLike[str]) -> str:
    """The real path of the file that writing to `path` replaces or makes; links are followed.

    Raises:
        OSError: there is no such folder, or what is there is a folder, a device, a FIFO or a socket.
    """
    text = os.fsdecode(path)
    target = os.path.realpath(text)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        _refuse_all_but_files(os.stat(text), text)
        if _names_a_descriptor(text):
            raise OSError(errno.EINVAL, "Is an open file's number; give the path of the file", text)
    if text.endswith(("/", os.sep)):
        raise IsADirectoryError(errno.EISDIR, "Is a folder; give the path of a file", text)
    folder = os.path.dirname(target)
    try:
        there = bool(text) and stat.S_ISDIR(os.stat(folder).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        there = False
    if not there:
        raise FileNotFoundError(errno.ENOENT, "No such folder; make it first", folder if text else text)
    return target


def open_regular(path: str | os.PathLike[str], mode: str = "rb", buffering: int = -1) -> IO[Any]:
    """Open a regular file, and nothing else that may be at `path`; never waits.

    What is checked is what was opened, so nothing can change places in between. A link is followed.

    Args:
        mode: "rb" reads, "r+b" also writes, "w+b" makes the file or empties it, "a+b" makes it or appends.
        buffering: as in `open`.
    Raises:
        OSError: no such file or folder, no permission, or what is there is a folder, a device, a FIFO, ...
    """
    text = os.fsdecode(path)
    if mode in ("w+b", "a+b"):
        regular_target(text)
    else:
        _refuse_all_but_files(os.stat(text), text)  # opening some devices already does something
    handle = os.open(text, FLAGS[mode] | CAREFUL, 0o666)
    try:
        _refuse_all_but_files(os.fstat(handle), text)
        if mode == "w+b":
            os.ftruncate(handle, 0)
        return os.fdopen(handle, mode, buffering)
    except BaseException:
        os.close(handle)
        raise


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove what processes that were killed in the middle of writing to `path` left beside it."""
    for leftover in glob.glob(f"{glob.escape(_stem(os.path.realpath(path)))}{'[0-9a-f]' * 16}.tmp"):
        with contextlib.suppress(OSError):
            os.unlink(leftover)


def _refuse_all_but_files(found: os.stat_result, path: str) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "Is a folder; give the path of a file", path)
    kind = KINDS.get(stat.S_IFMT(found.st_mode), "special file")
    raise OSError(errno.EINVAL, f"Is a {kind}, not a regular file; give the path of a file", path)


def _names_a_descriptor(path: str) -> bool:
    """Whether links lead to an open file by its number, as /dev/stdout does.

    A new file at the path of such a file would leave whoever holds it open with the old one.
    """
    for _ in range(MOST_LINKS):
        folder = os.path.realpath(os.path.dirname(path))
        if DESCRIPTORS.fullmatch(folder):
            return True
        if not os.path.islink(path):
            return False
        path = os.path.join(folder, os.readlink(path))
    return False


def companion(target: str, purpose: str) -> str:
    """The name of a hidden file beside `target` that is for it alone."""
    return _stem(target) + purpose


def _stem(target: str) -> str:
    """How the names of new files for `target` begin: short, whatever its own name, and no other's."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f".{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}.")


def _flush_folder(folder: str) -> None:
    """A rename survives a power cut once its folder is on the disk."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
