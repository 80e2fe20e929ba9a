"""Files that are whole at every moment: the old one, or the new one, never a part of either."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil

__all__ = ["write_atomically"]


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
    temporary = os.path.join(folder, f".{secrets.token_hex(8)}.tmp")
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


def _flush_folder(folder: str) -> None:
    """A rename survives a power cut once its folder is on the disk."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
