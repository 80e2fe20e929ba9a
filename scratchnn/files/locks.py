"""One run at a time writes to a file, whatever process or thread it is in.

A lock is a file beside the one it is for, held by the operating system (`flock`): it ends with the process
that holds it, whatever ends that. Where a folder takes no new file, or a system has no such locks, only the
runs of one process keep apart.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import threading
from collections.abc import Iterable
from types import TracebackType

from ..forks import free_at_forks, in_the_child
from .atomic import CAREFUL, companion, regular_target

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Lock", "refuse_shared"]

FLAGS = os.O_RDWR | os.O_CREAT | CAREFUL | getattr(os, "O_NOFOLLOW", 0)

_held: dict[str, Lock] = {}
_guard = free_at_forks(threading.Lock())


class Lock:
    """The right to write to the file at `path`; a context, which gives it back.

    Args:
        owner: who asks. what: the file in words, "the checkpoint run.ck"; both for the error.
    Raises:
        RuntimeError: another run has it. OSError: no such folder, or `path` is not of a regular file.
    """

    def __init__(self, owner: str, what: str, path: str | os.PathLike[str]) -> None:
        self.target = regular_target(path)
        self.process = os.getpid()
        with _guard:
            if self.target in _held:
                raise _taken(owner, what, "this process")
            self.beside = companion(self.target, "lock")
            self.handle = _hold(owner, what, self.beside)
            _held[self.target] = self

    @property
    def mine(self) -> bool:
        """False in a process that was forked from the one that has it."""
        return self.process == os.getpid()

    def release(self) -> None:
        """Let others write there."""
        with _guard:
            if not self.mine or _held.get(self.target) is not self:
                return
            del _held[self.target]
            if self.handle is not None:
                with contextlib.suppress(OSError):
                    os.unlink(self.beside)  # while it is held: who has opened it meanwhile looks again
                os.close(self.handle)

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _hold(owner: str, what: str, beside: str) -> int | None:
    """The descriptor of the lock file; None where there is no locking it."""
    if fcntl is None:
        return None
    while True:
        try:
            handle = os.open(beside, FLAGS, 0o666)
        except OSError:
            return None  # a folder that takes no new file: nobody writes there
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), os.stat(beside)):
                with contextlib.suppress(OSError):  # a full disk; it is only said in errors
                    os.ftruncate(handle, 0)
                    os.write(handle, str(os.getpid()).encode())
                return handle
        except FileNotFoundError:
            pass  # whoever held it has just removed it
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode(errors="replace")
            os.close(handle)
            raise _taken(
                owner, what, f"process {holder}" if holder.isdigit() else "another process"
            ) from None
        except OSError:
            os.close(handle)
            return None  # a file system without locks
        os.close(handle)


def _taken(owner: str, what: str, who: str) -> RuntimeError:
    return RuntimeError(
        f"{owner} got {what}, which a run of {who} is writing; wait until that run ends, "
        "or give this one a path of its own"
    )


def refuse_shared(owner: str, uses: Iterable[tuple[str, str]]) -> None:
    """Raise ValueError where two of the (what for, absolute path) are one file, however they spell it.

    "{epoch}" in a path is any number.
    """
    for (first, one), (second, other) in itertools.combinations(list(uses), 2):
        if _same_file(one, other):
            both = one if one == other else f"{one} and {other}, which is the same file"
            raise ValueError(
                f"{owner} got one path for two purposes: {first} and {second} would both write to {both}; "
                "give each a path of its own"
            )


def _same_file(one: str, other: str) -> bool:
    with contextlib.suppress(OSError):
        if os.path.samefile(one, other):
            return True
    one, other = os.path.realpath(one), os.path.realpath(other)
    return bool(_pattern(one).fullmatch(other) or _pattern(other).fullmatch(one))


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("([1-9][0-9]*|[{]epoch[}])".join(map(re.escape, path.split("{epoch}"))))


def _forget_all() -> None:
    """In a forked child: the locks are the parent's, and must not outlive it."""
    for lock in _held.values():
        if lock.handle is not None:
            os.close(lock.handle)
    _held.clear()


in_the_child(_forget_all)
