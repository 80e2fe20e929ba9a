"""The worked studies: one question each, answered by training a small network and looking at it.

    result = scratchnn.studies.circles.run(epochs=20)

Each study is one file that reads from top to bottom, and `scratchnn study NAME` on the command line.
A study is imported when it is first asked for.
"""

from importlib import import_module
from typing import Any

from scratchnn.checks import as_text

from .lesson import StudyError, StudyResult

__all__ = ["NAMES", "StudyError", "StudyResult", "load"]

NAMES = ("moons", "circles", "drawing", "rings", "sine")


def load(name: str) -> Any:
    """The module of the study called `name`; it has `run`.

    Raises:
        StudyError: if there is none, with the nearest name.
    """
    if as_text("studies.load", "name", name) not in NAMES:
        raise StudyError(unknown(name))
    return import_module(f".{name}", __name__)


def unknown(name: str) -> str:
    """What to say of a study that does not exist."""
    from difflib import get_close_matches

    nearest = get_close_matches(name.lower(), NAMES, n=1, cutoff=0.0)[0]
    return f"there is no study {name!r}; did you mean {nearest!r}? There are: {', '.join(NAMES)}"


def __getattr__(name: str) -> Any:
    if name in NAMES:
        return load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *NAMES]
