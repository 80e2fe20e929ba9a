"""A few hundred damaged and forged files; `python tests/fuzz_files.py` reads thousands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(sys.platform != "linux", reason="bounds memory by what Linux says of a process")
def test_every_file_ends_in_a_result_or_in_words() -> None:
    program = [sys.executable, str(ROOT / "tests" / "fuzz_files.py"), "--files", "300", "--seed", "3"]
    done = subprocess.run(program, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "300 files, 0 faults" in done.stdout
