"""Every command and every code block of the README runs as written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
# `pip install` and `pytest` cannot run inside pytest; .ci/run runs them, word for word.
RUN_BY_CI = "pip install -e \".[test]\" && pytest"


def test_python_blocks_run_one_after_the_other() -> None:
    assert len(PYTHON) >= 3
    subprocess.run([sys.executable, "-W", "error", "-c", "\n".join(PYTHON)], check=True, cwd=ROOT)


def test_ci_runs_the_test_command_as_written() -> None:
    assert RUN_BY_CI in SHELL
    assert RUN_BY_CI in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("line", [line for line in SHELL if line != RUN_BY_CI])
def test_commands_run(line: str, tmp_path: Path) -> None:
    install, _, command = line.rpartition(" && ")
    if install:
        extra = re.fullmatch(r'pip install -e "\.(\[\w+\])?"', install)
        assert extra, f"{install!r} is not a command this test knows"
        assert extra[1] is None or f"\n{extra[1].strip('[]')} = [" in (ROOT / "pyproject.toml").read_text()
    words = command.split()
    assert words[0] == "scratchnn", f"{command!r} is run by no test"
    short = [*words[1:], "--epochs", "3", "--out", str(tmp_path / "out")]
    ran = subprocess.run([sys.executable, "-m", "scratchnn.cli", *short], capture_output=True, text=True, check=True)
    assert "PASS" in ran.stdout
    assert list((tmp_path / "out").glob("*.png"))


def test_pictures_and_paths_exist() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`(tests/[\w/.]+)`", README):
        assert (ROOT / path).exists(), path
