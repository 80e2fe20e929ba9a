"""Where and how often a run is kept."""

from __future__ import annotations

import math
import os

from ..checks import as_number, as_path, positive_int
from ..checks.paths import from_here

__all__ = ["Checkpoint"]

SECONDS = 30.0


class Checkpoint:
    """Where `fit` keeps its run, and how often; `fit(..., checkpoint=path)` is `Checkpoint(path)`.

    Args:
        path: of the file. The folder must be there. A relative path means the folder the program is in now.
        every_epochs: write after so many epochs.
        every_seconds: write after the first epoch that ends so long after the last time (in a compiled run:
            the first quarter of a second). With both, whichever comes first; with neither, 30 seconds.
            The end of the run is always written.
    Raises:
        TypeError: no path. ValueError: numbers that are not positive.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        every_epochs: int | None = None,
        every_seconds: float | None = None,
    ) -> None:
        self.path = as_path("Checkpoint", "path", path)
        self.place = from_here(self.path)  # wherever the program changes to
        if every_epochs is not None:
            positive_int("Checkpoint", "every_epochs", every_epochs)
        if every_seconds is not None:
            as_number("Checkpoint", "every_seconds", every_seconds, least=0)
        self.every_epochs = math.inf if every_epochs is None else every_epochs
        if every_seconds is None:
            every_seconds = SECONDS if every_epochs is None else math.inf
        self.every_seconds = every_seconds

    def __repr__(self) -> str:
        return (
            f"Checkpoint({self.path!r}, every_epochs={self.every_epochs}, every_seconds={self.every_seconds})"
        )
