"""Settings that every test shares."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import scratchnn as snn

# One profile for everybody: no deadlines (shared machines stall), and on CI the same examples each time.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test begins with the same stream, whatever ran before it."""
    snn.manual_seed(0)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """`pytest -m gpu` needs NumPy, torch, pytest, hypothesis only: what cannot run is not imported."""
    if config.option.markexpr != "gpu" or not collection_path.name.startswith("test_"):
        return None
    text = collection_path.read_text(encoding="utf-8")
    missing = [name for name in ("matplotlib", "sklearn", "typer") if importlib.util.find_spec(name) is None]
    return "mark.gpu" not in text or any(name in text for name in missing) or None
