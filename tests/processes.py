"""Processes that tests start and interrupt."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["interrupted"]

PATIENCE = 120.0


def interrupted(arguments: list[str], once: Path, later: float) -> tuple[int, str, float]:
    """Run the command, press Ctrl-C `later` seconds after the file `once` is there.

    Returns:
        exit code, what it wrote to stderr, and the seconds from Ctrl-C to its end.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "scratchnn.cli", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not once.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(later)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        _, err = process.communicate(timeout=20)
        return process.returncode, err, time.monotonic() - sent
    finally:
        process.kill()
        process.wait()
