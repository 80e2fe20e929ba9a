"""Files of compiled code on disk: only ours, only whole, and made by one process at a time.

An entry is unpickled, and unpickling runs what it says. So an entry is read only from a folder, and from a
file, that is the user's own and that nobody else can write to. Its checksum finds damage, not malice.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Callable
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: whoever comes compiles
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "UntrustedFolderError",
    "base_folder",
    "lock",
    "make_private",
    "read_entry",
    "unlock",
    "write_entry",
]

MAGIC = b"scratchnn compiled code 1\n"
DIGEST_BYTES = hashlib.sha256().digest_size
CAREFUL = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
LOOK_EVERY = 0.05  # seconds
PATIENCE = 300.0  # seconds that another process may take: on a busy machine compiling takes a minute and more


class UntrustedFolderError(OSError):
    """Others could put code into the folder, or there is none that is ours."""


def base_folder() -> Path:
    """$SCRATCHNN_CACHE_DIR, or scratchnn in the user's folder for caches; an empty variable is as none.

    Raises:
        UntrustedFolderError: there is no home folder; the variable has a path that depends on where the
            program happens to be.
    """
    given = os.environ.get("SCRATCHNN_CACHE_DIR")
    if given:
        if not os.path.isabs(given):
            raise UntrustedFolderError(
                f"SCRATCHNN_CACHE_DIR={given!r} depends on the current folder; give an absolute path"
            )
        return Path(given)
    caches = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", "")
    if not os.path.isabs(caches):  # a relative one does not count, says the XDG specification
        home = _home()
        if not os.path.isabs(home) or not os.path.isdir(home):
            raise UntrustedFolderError(
                "there is no home folder; set SCRATCHNN_CACHE_DIR to a folder of yours"
            )
        caches = os.path.join(home, ".cache")
    return Path(caches) / "scratchnn"


def _home() -> str:
    if os.name == "nt" or os.environ.get("HOME"):
        return os.path.expanduser("~")
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def make_private(folder: Path) -> Path:
    """Make the folder if it is not there, for the user alone, and return its real path.

    Raises:
        UntrustedFolderError: it is another user's, or others can write to it, or to a folder above it.
        OSError: it cannot be made.
    """
    folder = Path(os.path.realpath(folder))
    if not hasattr(os, "geteuid"):
        _make(folder)
        return folder
    _check_above(folder)
    _make(folder)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        raise UntrustedFolderError(f"{folder} belongs to another user, number {found.st_uid}")
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UntrustedFolderError(f"others can write to {folder}: remove it, or chmod 700 it")
    return folder


def _check_above(folder: Path) -> None:
    """Who can write to a folder above can put another folder in the place of ours.

    A sticky one, such as /tmp, forbids that; and the user's own group has, by custom, no other members.
    """
    for above in folder.parents:
        if above.exists():
            found = above.stat()
            mine = found.st_gid == os.getegid()
            others = stat.S_IWOTH if mine else stat.S_IWOTH | stat.S_IWGRP
            if found.st_mode & others and not found.st_mode & stat.S_ISVTX:
                raise UntrustedFolderError(f"others can write to {above}, where {folder} is: chmod go-w it")


def _make(folder: Path) -> None:
    if not folder.is_dir():
        if folder.parent != folder:
            _make(folder.parent)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)
            folder.chmod(0o700)  # whatever the umask


# Entries ------------------------------------------------------------------------------------------


def read_entry(path: Path) -> bytes | None:
    """What `write_entry` wrote; None where there is nothing, or nothing that is ours and whole."""
    try:
        handle = os.open(path, os.O_RDONLY | CAREFUL)
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode) or not _ours(found):
                return None
            with open(handle, "rb", closefd=False) as file:
                data = file.read()
        finally:
            os.close(handle)
    except OSError:
        return None
    start = len(MAGIC) + DIGEST_BYTES
    payload = data[start:]
    whole = data[:start] == MAGIC + hashlib.sha256(payload).digest()
    return payload if whole else None


def _ours(found: os.stat_result) -> bool:
    if not hasattr(os, "geteuid"):
        return True
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def write_entry(path: Path, payload: bytes) -> None:
    """Put an entry in its place, whole; another one there is replaced.

    Raises:
        OSError: no room, or no permission.
    """
    aside = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | CAREFUL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(MAGIC + hashlib.sha256(payload).digest() + payload)
        os.replace(aside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


# Locks --------------------------------------------------------------------------------------------


def lock(path: Path, say: Callable[[], None]) -> int | None:
    """Wait until no other process holds this lock, and take it; it ends with the process, however it ends.

    Args:
        path: of its file, which stays. say: called once, before waiting.
    Returns:
        what `unlock` takes; None where there are no locks, or the other process takes longer than PATIENCE.
    """
    if fcntl is None:
        return None
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | CAREFUL, 0o600)
    except OSError:
        return None
    give_up = time.monotonic() + PATIENCE
    taken = waiting = False
    try:
        while not taken and time.monotonic() < give_up:
            try:
                # Of the process, not of the open file: a fork does not take it along.
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                taken = True
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    break  # a file system without locks
                if not waiting:
                    waiting = True
                    say()
                time.sleep(LOOK_EVERY)
    finally:
        if not taken:
            os.close(handle)
    return handle if taken else None


def unlock(handle: int) -> None:
    os.close(handle)
