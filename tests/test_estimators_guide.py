"""The guide to the estimators runs, and prints what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from guide import run_blocks

GUIDE = Path(__file__).parents[1] / "docs" / "estimators.md"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_guide_runs(tmp_path: Path) -> None:
    shown = list(run_blocks(GUIDE.read_text(), tmp_path))
    assert shown
    for block, output in shown:
        assert block.group(2).strip() == output.strip()
