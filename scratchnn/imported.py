"""The code that kernels are made of, as it was imported: what the engine's cache on disk is keyed by.

A source file may be edited after it was imported ("git pull with a notebook open"), or between the import of
one module and the next, and Python may run a .pyc older than its source. So the key cannot be of files: it
is of the code objects that Python ran. Python forgets a module's code once it has run, hence a finder in
`sys.meta_path` that runs the modules of WATCHED exactly as Python would, and keeps their code.
"""

from __future__ import annotations

import hashlib
import marshal
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any

__all__ = ["code_digest", "code_key", "ran_once"]

WATCHED = tuple(f"{__package__}.{room}" for room in ("functional", "engine"))
# Later formats write an object that is met again as a reference, so bytes depend on what else is in memory.
WITHOUT_SHARING = 2
_CODES: dict[str, CodeType] = {}
_AGAIN: set[str] = set()  # modules that ran more than once


class _Watcher:
    """Finds the modules of WATCHED on Python's path, and has their code kept when they are run."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(WATCHED):
            return None
        spec = PathFinder.find_spec(name, path, target)
        loader: Any = None if spec is None else spec.loader
        # A loader that has its own way to run a module keeps it; then there is no key.
        if getattr(type(loader), "exec_module", None) is SourceFileLoader.exec_module:
            loader.exec_module = lambda module: _run(loader, module)
        return spec


def _run(loader: Any, module: ModuleType) -> None:
    """Run a module as its loader would, and keep its code."""
    name = module.__name__
    code = loader.get_code(name)
    if name.startswith(WATCHED):
        if name in _CODES:
            _AGAIN.add(name)
        _CODES[name] = code
    try:
        exec(code, module.__dict__)
    except BaseException:
        if name not in _AGAIN:
            _CODES.pop(name, None)
        raise


def ran_once() -> bool:
    """Whether `code_key` tells what kernels are made of.

    Not where a module was run again (`importlib.reload`), for others may still hold what it was before;
    nor where Python imported one in another way than from its path.
    """
    return not _AGAIN and _imported() <= set(_CODES)


def code_key() -> str:
    """A hash of the code of all imported modules of WATCHED, whatever folder they are in."""
    text = "\n".join(f"{name} {code_digest(_CODES[name])}" for name in sorted(_imported()))
    return hashlib.sha256(text.encode()).hexdigest()


def _imported() -> set[str]:
    return {name for name in tuple(sys.modules) if name.startswith(WATCHED)}


def code_digest(code: CodeType) -> str:
    """A hash of what a code object does: instructions, names and constants; not of its lines or its file."""
    return hashlib.sha256(marshal.dumps(_bare(code), WITHOUT_SHARING)).hexdigest()


def _bare(code: CodeType) -> CodeType:
    """The code without its file and its lines, and that of the functions in it."""
    constants = tuple(
        _bare(constant) if isinstance(constant, CodeType)
        # This format has no slices, which Python 3.14 makes constants of.
        else ("slice", constant.start, constant.stop, constant.step) if isinstance(constant, slice)
        else constant
        for constant in code.co_consts
    )  # fmt: skip
    return code.replace(co_filename="", co_firstlineno=1, co_linetable=b"", co_consts=constants)


sys.meta_path.insert(0, _Watcher)
