"""A progress bar, where there is a terminal to see it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..forks import LOADING

if TYPE_CHECKING:
    from .fit import FitState

__all__ = ["notice", "progress_bar"]


def notice(wanted: bool) -> Callable[[str], None]:
    """What says a line of text, if there is somebody to read it."""

    def tell(text: str) -> None:
        if wanted and sys.stderr.isatty():
            print(text, file=sys.stderr, flush=True)

    return tell


@contextmanager
def progress_bar(wanted: bool, state: FitState) -> Iterator[Callable[[], None]]:
    if wanted:
        with LOADING:
            from rich.console import Console

        console = Console(stderr=True)
        if console.is_terminal:
            with LOADING:
                from rich.progress import (
                    BarColumn,
                    MofNCompleteColumn,
                    Progress,
                    TextColumn,
                    TimeRemainingColumn,
                )

            columns = (
                TextColumn("training"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("epochs  loss {task.fields[loss]}"),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=console) as bar:
                task = bar.add_task("training", total=state.epochs, loss="...")

                def show() -> None:
                    bar.update(task, completed=state.epoch, loss=f"{state.history.train_loss[-1]:.4g}")

                yield show
            return
    yield lambda: None
