"""Every command and every code block of the README runs as written."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scratchnn.studies.pages import gallery

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
FILES = {block.split()[1]: block for block in BLOCKS if re.match(r"# \w+\.py\n", block)}
PYTHON = [block for block in BLOCKS if block not in FILES.values()]
SHELL = [line for block in re.findall(r"```bash\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]
# `pip install` and `pytest` cannot run inside pytest; .ci/run runs them, word for word.
RUN_BY_CI = 'pip install -e ".[test]" && pytest'
# Here the package is imported from the checkout, whatever the folder the program runs in.
HERE = os.environ | {"PYTHONPATH": str(ROOT)}


def test_python_blocks_run_one_after_the_other(tmp_path: Path) -> None:
    assert len(PYTHON) >= 6
    program = "\n".join(PYTHON)
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=tmp_path, env=HERE)


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
    program, verb, *rest = shlex.split(command)
    assert (program, verb) in {("scratchnn", "study"), ("scratchnn", "check"), ("scratchnn", "explain")}, (
        f"{command!r} is run by no test"
    )
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    short = ["--epochs", "3", "--out", str(tmp_path / "out")] if verb == "study" else []
    arguments = [sys.executable, "-m", "scratchnn.cli", verb, *rest, *short]
    ran = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, env=HERE)
    if verb == "study":
        assert ran.returncode == 0, ran.stderr
        assert "PASS" in ran.stdout
        assert list((tmp_path / "out").glob("*.png"))
    elif verb == "explain":
        assert ran.returncode == 0, ran.stderr
        assert (tmp_path / "step.html").read_text().startswith("<!DOCTYPE html>")
    else:
        assert ran.returncode == 1, ran.stderr  # the backward in the README is wrong
        (said,) = re.findall(r"`(Diagnosis: [\w-]+)`", README)
        assert said in ran.stdout.splitlines()


def test_pictures_and_paths_exist() -> None:
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path
    tests = re.findall(r"`([\w/]*test_[\w/]+\.py)`", README)
    assert len(tests) >= 9
    for path in tests:
        assert (ROOT / path).exists(), path
    folders = re.findall(r"(\w+(?:/|\.py))  ", README)
    assert len(folders) >= 15
    for path in folders:
        assert any((ROOT / room / path).exists() for room in (".", "scratchnn")), path


def test_tables_that_runs_wrote_stand_here_as_they_wrote_them() -> None:
    section = README.split("## How fast")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    assert len(rows) > 8
    figures = [cell.strip() for row in rows[2:] for cell in row]
    assert all(f"| {figure} |" in page for figure in figures)
    assert gallery(prefix="docs/studies/").strip() in README
