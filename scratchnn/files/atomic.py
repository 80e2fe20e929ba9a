"""Files that are whole at every moment: the old one, or the new one, never a part of either."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import secrets
import shutil

__all__ = ["remove_leftovers", "write_atomically"]


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Put `data` where `path` is: a new file in the same folder, flushed to the disk, then renamed.

    A link is followed, so the file it names is the one replaced; an existing file's mode is kept.

    Raises:
        OSError: no such folder, no permission, a full disk. What was at `path` before is then still there.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "No such folder; make it first", folder)
    if os.path.isdir(target):
        raise IsADirectoryError(errno.EISDIR, "Is a folder; give the path of a file", target)
    temporary = f"{_stem(target)}{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        error.add_note(f"Nothing was written: {target} is as it was before.")
        raise
    _flush_folder(folder)


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove what processes that were killed in the middle of writing to `path` left beside it."""
    for leftover in glob.glob(f"{glob.escape(_stem(os.path.realpath(path)))}{'[0-9a-f]' * 16}.tmp"):
        with contextlib.suppress(OSError):
            os.unlink(leftover)


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
