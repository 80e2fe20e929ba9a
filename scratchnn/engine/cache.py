"""Compiled code on disk: found again only when nothing it came from has changed.

Numba's own cache looks at the file of one function; the kernels here are made of formulas in many files.
So the folder's name is a hash of all code that was imported and can reach a kernel, of the versions of
Python, NumPy, Numba and llvmlite, and of the processor and the options that Numba compiles for. Whose files
are read, and how several processes share them, is in `entries`.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import pickle
import pkgutil
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from ..forks import LOADING
from ..imported import code_key, ran_once
from .entries import UntrustedFolderError, base_folder, lock, make_private, read_entry, unlock, write_entry

__all__ = ["DiskCache", "cache_folder", "compiled"]

OPTIONS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
_SAID: list[str] = []


def cache_folder() -> Path:
    """Where compiled code is: in `base_folder`, in one folder a key, made if it is not there.

    Raises:
        UntrustedFolderError: there is none, or none to be trusted. OSError: it cannot be made.
    """
    if not ran_once():
        raise UntrustedFolderError("modules of scratchnn were run again since they were imported")
    return make_private(base_folder() / _key())


@functools.cache
def _key() -> str:
    """A hash of what compiled functions are made of, and made for."""
    # The whole engine, whichever of it this program has used so far: there is one key for all of it.
    for module in pkgutil.iter_modules(sys.modules[__package__].__path__):
        importlib.import_module(f"{__package__}.{module.name}")
    from .formulas import formulas_key

    versions = (sys.version, np.__version__, numba.__version__, llvmlite.__version__)
    processor = cpu_target.target_context.codegen().magic_tuple()
    options = [str(getattr(config, option)) for option in OPTIONS]
    text = repr((code_key(), formulas_key(), versions, processor, options))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def compiled(
    function: Any, name: str, signature: Any, what: str = "", tell: Callable[[str], None] = lambda text: None
) -> tuple[Any, float]:
    """`function`, ready to be called, and the seconds that compiling it took; 0 where it came from disk.

    Args:
        name: of its files. what: it is, for `tell`, which is called with a line of text before a compilation.
    Warns:
        RuntimeWarning: once, where compiled code cannot be kept on disk.
    """
    # Several threads may want the same function at once; whoever comes second finds it done.
    with LOADING:
        started = time.perf_counter()
        cache = DiskCache(name, what, tell)
        function._cache = cache
        function.disable_compile(False)
        try:
            function.compile(signature)
        finally:
            cache.release()
        # From here on a call fits its arguments to this signature and never compiles another.
        function.disable_compile()
        seconds = 0.0 if cache.loaded else time.perf_counter() - started
    if cache.trouble and not _SAID:
        _SAID.append(cache.trouble)
        warnings.warn(
            f"Compiled code is not kept on disk: {cache.trouble}. Each program compiles the engine again.",
            RuntimeWarning,
            stacklevel=2,
        )
    return function, seconds


class DiskCache(_Cache):
    """The cache of one compiled function, one file for each of its signatures.

    Attributes:
        folder: where the files are; None where there is none to be trusted.
        loaded: whether the last function came from disk.
        trouble: why there is no folder, or why the last function could not be written there; "" without.
    """

    def __init__(self, name: str, what: str = "", tell: Callable[[str], None] = lambda text: None) -> None:
        self.name, self.what, self.tell = name, what, tell
        self.loaded, self.trouble = False, ""
        self._lock: int | None = None
        self.folder: Path | None = None
        try:
            self.folder = cache_folder()
        except OSError as error:
            self.trouble = str(error)

    @property
    def cache_path(self) -> str:
        return str(self.folder)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        result = self._found(sig, target_context)
        self.loaded = result is not None
        if result is None:
            target_context.refresh()
            self.tell(f"compiling {self.what}, once per machine")
        return result

    def _found(self, sig: Any, target_context: Any) -> Any:
        """What is on disk; None, and then the lock is ours where there are locks, if it is to be compiled."""
        if self.folder is None:
            return None
        path = self.folder / self._file(sig)
        payload = read_entry(path)
        result = _rebuilt(payload, target_context)
        if result is None:
            self._lock = lock(
                path.with_suffix(".lock"),
                lambda: self.tell(f"waiting for another process, which compiles {self.what}"),
            )
            meanwhile = read_entry(path)
            if meanwhile != payload:
                self.release()
                result = _rebuilt(meanwhile, target_context)
        return result

    def save_overload(self, sig: Any, result: Any) -> None:
        if self.folder is None:
            return
        try:
            write_entry(self.folder / self._file(sig), dumps(result._reduce()))
        except OSError as error:  # read-only or full: this process has its code, the next one compiles again
            self.trouble = str(error)

    def release(self) -> None:
        """Let other processes compile, or read what was compiled."""
        if self._lock is not None:
            unlock(self._lock)
            self._lock = None

    def _file(self, sig: Any) -> str:
        return f"{self.name}-{hashlib.sha256(str(sig).encode()).hexdigest()[:16]}.bin"

    def enable(self) -> None:
        """Always on."""

    def disable(self) -> None:
        """Always on."""

    def flush(self) -> None:
        """Forget what is on disk."""
        if self.folder is not None:
            for path in self.folder.glob(f"{self.name}-*.bin"):
                path.unlink(missing_ok=True)


def _rebuilt(payload: bytes | None, target_context: Any) -> Any:
    """The compiled function that was written; None where there is none that Numba can take."""
    if payload is None:
        return None
    try:
        # Finished code needs Numba's runtime only; the rest of the compiler takes long to import.
        rtsys.initialize(target_context)
        return CompileResult._rebuild(target_context, *pickle.loads(payload))
    except Exception:  # whole, but from another world
        return None
