"""Run a guide: its Python blocks in order, its commands, and what it says they print.

`python tests/guide.py docs/gradcheck.md` writes the outputs of today's code into it, as of a terminal
of 100 columns.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scratchnn.cli import main

COLUMNS = "100"
BLOCK = re.compile(r"```(python|text|console)\n(.*?)```", re.S)


def printed(function: Any, *arguments: Any) -> str:
    """What a call prints, to either stream."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out), contextlib.suppress(SystemExit):
        function(*arguments)
    return out.getvalue()


def run_blocks(text: str, folder: Path) -> Iterator[tuple[re.Match[str], str]]:
    """(block that shows an output, the output now), in order."""
    names: dict[str, Any] = {"__name__": "guide"}
    last = ""
    for block in BLOCK.finditer(text):
        kind, body = block.groups()
        if kind == "python" and body.startswith("# layers.py\n"):
            (folder / "layers.py").write_text(body)
        elif kind == "python":
            with contextlib.chdir(folder):
                last = printed(exec, compile(body, "guide", "exec"), names)
        elif kind == "text":
            yield block, last
        else:
            command = body.splitlines()[0].removeprefix("$ ")
            here = Path.cwd()
            os.chdir(folder)
            try:
                output = printed(main, command.split()[1:])
            finally:
                os.chdir(here)
            yield block, f"$ {command}\n{output}"


def rewrite(path: Path) -> None:
    """Put today's outputs into the guide."""
    text = path.read_text()
    with tempfile.TemporaryDirectory() as folder:
        for block, output in reversed(list(run_blocks(text, Path(folder)))):
            text = text[: block.start(2)] + output.rstrip() + "\n" + text[block.end(2) :]
    path.write_text(text)


if __name__ == "__main__":
    os.environ["COLUMNS"] = COLUMNS
    rewrite(Path(sys.argv[1]))
