"""float32 is as near to the truth as PyTorch's float32 is. The whole table is in docs/accuracy.md."""

from __future__ import annotations

import re

import pytest
from accuracy import FILE, PARTS, Errors, measure

BOUND = 1.5


@pytest.fixture(scope="module")
def errors() -> Errors:
    return measure(range(150))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("percentile", [50, 90])
def test_errors_are_at_most_half_as_large_again_as_torchs(errors: Errors, part: str, percentile: int) -> None:
    ours, theirs = errors.quantile(part, percentile)
    assert ours <= BOUND * theirs
    assert theirs > 0.1  # float32 against float64: there is an error to speak of


@pytest.mark.parametrize("part", PARTS)
def test_network_by_network_the_median_is_no_worse(errors: Errors, part: str) -> None:
    assert errors.ratio(part, 50) <= BOUND


def test_the_page_says_the_same() -> None:
    """Every percentile of the page that speaks of 1000 networks, below the worst, is within the bound."""
    text = FILE.read_text()
    assert text.splitlines()[2].startswith("1000 random networks")
    for part in PARTS:
        rows = [re.findall(r"\d+\.\d+", line) for line in text.splitlines() if line.startswith(f"| {part}, ")]
        for ours, theirs in list(zip(*rows, strict=True))[:3]:
            assert float(ours) <= BOUND * float(theirs)
