"""The guide to recordings runs, and prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from guide import run_blocks

GUIDE = Path(__file__).parents[1] / "docs" / "recording.md"


def essence(output: str) -> str:
    """The words, and numbers to three digits: the last ones are the machine's own business."""
    return re.sub(r"\d+\.\d+(e[+-]\d+)?", lambda found: f"{float(found[0]):.2e}", output).strip()


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = list(run_blocks(GUIDE.read_text(), tmp_path))
    assert len(shown) == 5
    for block, output in shown:
        assert essence(block.group(2)) == essence(output)
    pictures = {
        f"recording-{name}" for name in ("parameters.png", "gradients.png", "strip.png", "training.gif")
    }
    assert {path.name for path in tmp_path.iterdir()} == {"run.rec", *pictures}
