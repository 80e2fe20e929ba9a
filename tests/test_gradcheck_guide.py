"""The guide's programs run and print what it says."""

from __future__ import annotations

import re
from pathlib import Path

from guide import run_blocks

GUIDE = Path(__file__).parents[1] / "docs" / "gradcheck.md"


def essence(output: str) -> list[str]:
    """The words and leading digits; which entry rounds worst is the machine's own business."""
    lines = []
    for line in output.strip().splitlines():
        row = re.match(r"(\S+ +\([\d, ]+\)).*\bpass$", line)
        text = row.group(1) if row else re.sub(r"([+-]\d\.\d{5})\d+(e[+-]\d\d)", r"\1\2", line)
        lines.append(re.sub(r"\d\.\de\+1\d", "1e1", text).rstrip())
    return lines


def test_the_guide_prints_what_it_says(tmp_path: Path) -> None:
    text = GUIDE.read_text()
    blocks = list(run_blocks(text, tmp_path))
    assert len(blocks) == 11
    for block, output in blocks:
        assert essence(block.group(2)) == essence(output)


def test_the_guide_has_three_mistakes_with_names() -> None:
    text = GUIDE.read_text()
    assert re.findall(r"^Diagnosis: ([\w-]+)$", text, re.M)[:3] == [
        "divided-twice",
        "derivative-at-input",
        "softmax-twice",
    ]
