"""Compiled code on disk: found again only when nothing it came from has changed.

Numba's own cache looks at the file of one function; the kernels here are made of formulas in many files.
So the folder's name is a hash of every source file of the package that can reach a kernel, of the versions
of Numba, llvmlite and Python, and of the processor with its features. Files are written aside and moved
into place, so that two processes may compile at once; a folder that cannot be written to is left alone.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numba
from numba.core.caching import _Cache
from numba.core.compiler import CompileResult
from numba.core.runtime import rtsys
from numba.core.serialize import dumps

from .compiling import COMPILING

__all__ = ["DiskCache", "cache_folder", "compiled"]

PACKAGE = Path(__file__).parent.parent


def source_hash(package: Path = PACKAGE) -> str:
    """A hash of the formulas and kernels, file by file."""
    digest = hashlib.sha256()
    for folder in ("functional", "engine"):
        for path in sorted((package / folder).glob("*.py")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


@functools.cache
def _key() -> str:
    processor = f"{platform.machine()} {llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    versions = f"{sys.version} {numba.__version__} {llvmlite.__version__}"
    return hashlib.sha256(f"{source_hash()} {versions} {processor}".encode()).hexdigest()[:24]


def cache_folder() -> Path:
    """$SCRATCHNN_CACHE_DIR, or scratchnn in the user's folder for caches; then one folder a key."""
    base = os.environ.get("SCRATCHNN_CACHE_DIR")
    if base is None:
        home = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
        base = os.path.join(home or os.path.expanduser(os.path.join("~", ".cache")), "scratchnn")
    return Path(base) / _key()


def compiled(
    function: Any, name: str, signature: Any, before: Callable[[], None] = lambda: None
) -> tuple[Any, float]:
    """`function`, ready to be called, and the seconds that compiling it took; 0 where it came from disk.

    Args:
        name: of its files. before: called before a compilation.
    """
    # Several threads may want the same function at once; whoever comes second finds it done.
    with COMPILING:
        started = time.perf_counter()
        cache = DiskCache(name, before)
        function._cache = cache
        function.disable_compile(False)
        function.compile(signature)
        # From here on a call fits its arguments to this signature and never compiles another.
        function.disable_compile()
        return function, 0.0 if cache.loaded else time.perf_counter() - started


class DiskCache(_Cache):
    """The cache of one compiled function, one file for each of its signatures."""

    def __init__(self, name: str, before: Callable[[], None] = lambda: None) -> None:
        self.name, self.before = name, before
        self.loaded = False  # whether the last function came from disk

    @property
    def cache_path(self) -> str:
        return str(cache_folder())

    def _file(self, sig: Any) -> Path:
        return cache_folder() / f"{self.name}-{hashlib.sha256(str(sig).encode()).hexdigest()[:16]}.bin"

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        self.loaded = False
        try:
            # Finished code needs Numba's runtime only; the rest of the compiler takes long to import.
            rtsys.initialize(target_context)
            # A file cut short or from another world is as good as none.
            payload = pickle.loads(self._file(sig).read_bytes())
            result = CompileResult._rebuild(target_context, *payload)
        except Exception:
            target_context.refresh()
            self.before()
            return None
        self.loaded = True
        return result

    def save_overload(self, sig: Any, result: Any) -> None:
        path = self._file(sig)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, aside = tempfile.mkstemp(prefix=path.name, suffix=".tmp", dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(dumps(result._reduce()))
                os.replace(aside, path)
            except BaseException:
                os.unlink(aside)
                raise
        except OSError:
            pass  # read-only or full: this process has its code, the next one compiles again

    def enable(self) -> None:
        """Always on."""

    def disable(self) -> None:
        """Always on."""

    def flush(self) -> None:
        """Forget what is on disk."""
        for path in cache_folder().glob(f"{self.name}-*.bin"):
            path.unlink(missing_ok=True)
