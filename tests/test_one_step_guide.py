"""The guide through one step prints what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from guide import COLUMNS, run_blocks

GUIDE = Path(__file__).parents[1] / "docs" / "one-step.md"


def essence(output: str) -> str:
    """Without the last bit, which is the machine's own business."""
    return re.sub(r"  (no difference|[\d.e-]+ roundings away);", "  near;", output.strip())


def test_the_guide_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", COLUMNS)
    blocks = list(run_blocks(GUIDE.read_text(), tmp_path))
    assert len(blocks) == 11
    for block, output in blocks:
        assert essence(block.group(2)) == essence(output)
    assert "<math" in (tmp_path / "step.html").read_text()


def test_all_that_the_guide_checks_is_near() -> None:
    """A rounding or two, as the guide says, and not millions of millions."""
    differences = re.findall(r"([\d.e-]+) roundings away", GUIDE.read_text())
    assert differences
    assert max(map(float, differences)) < 8
