"""A whole step as LaTeX: it compiles under plain article, and has the step's formulas and numbers."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import scratchnn as snn
from scratchnn.show.latex import figure, words

RNG = np.random.default_rng(0)
NASTY = 'a_<b>&"é中%$#^~\\{|}\n−'


class Doubled(snn.Module):
    def forward(self, x):
        return 2 * x

    def backward(self, dy):
        return 2 * dy


def small() -> snn.Trace:
    snn.manual_seed(3)
    model = snn.Sequential(snn.Linear(2, 3), snn.ReLU(), snn.Linear(3, 1), snn.Sigmoid())
    x = RNG.normal(size=(4, 2)).astype(np.float32)
    return snn.trace(model, snn.BCELoss(), x, (x[:, :1] > 0).astype(np.float32))


def nasty() -> snn.Trace:
    parts = {
        NASTY: snn.Linear(2, 30),
        "own": Doubled(),
        "drop": snn.Dropout(0.5),
        "out": snn.Linear(30, 3, bias=False),
    }
    x = RNG.normal(size=(40, 2)).astype(np.float32)
    return snn.trace(snn.Sequential(parts), snn.CrossEntropyLoss(), x, np.arange(40) % 3)


def dead() -> snn.Trace:
    model = snn.Sequential(snn.Linear(3, 2), snn.ReLU(), snn.Linear(2, 1))
    model[0].bias.data[:] = -1e6
    return snn.trace(model, snn.HuberLoss(), np.ones((2, 4, 3)), np.full((2, 4, 1), 1e-7))


def diverged() -> snn.Trace:
    model = snn.Linear(2, 2)
    model.weight.data[0, 0] = np.nan
    model.bias.data[0] = np.inf
    return snn.trace(model, snn.MSELoss(), np.ones((2, 2)), np.ones((2, 2)))


TRACES = {"small": small, "nasty": nasty, "dead, three axes": dead, "diverged": diverged}


@pytest.mark.parametrize("name", TRACES)
def test_the_document_is_well_formed(name):
    text = TRACES[name]().to_latex()
    assert text.startswith("\\documentclass{article}\n\\usepackage{amsmath}\n")
    assert text.count("\\usepackage") == 1
    assert text.endswith("\\end{document}\n")
    assert [ord(c) for c in text if ord(c) > 255] == []
    for environment in set(re.findall(r"\\begin\{([\w*]+)\}", text)):
        begins, ends = text.count(rf"\begin{{{environment}}}"), text.count(rf"\end{{{environment}}}")
        assert begins == ends, environment
    bare = re.sub(r"\\[\\{}$%&#_]", "", text)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    for table in re.findall(r"\\begin\{tabular\}\{([^}]*)\}\n(.*?)\n\\end\{tabular\}", text, flags=re.DOTALL):
        columns = len(re.sub(r"[^lr]", "", table[0]))
        rows = [row for row in table[1].split("\\\\") if row.strip()]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {columns}


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_the_document_compiles(name, tmp_path: Path):
    (tmp_path / "step.tex").write_text(TRACES[name]().to_latex(), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "step.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode("latin-1")[-2000:]
    assert (tmp_path / "step.pdf").stat().st_size > 10_000


def test_every_step_with_its_formula_and_numbers():
    trace = small()
    text = trace.to_latex()
    forward, backward = text.split(r"\section{Backward}")
    for part, direction in ((forward, "forward"), (backward, "backward")):
        steps = [step for step in trace.steps if step.direction == direction]
        names = [s.module if s.path == "loss" else f"{s.path} {s.module}" for s in steps]
        assert re.findall(r"\\subsection\{(.*)\}", part) == names
        assert part.count("&= ") == sum(len(step.formulas) for step in steps)
    # Compared as numbers: which way the last digit of one is rounded differs between processors.
    written = np.array([float(text) for text in re.findall(r"-?\d+\.\d+", backward)])
    for entry in trace.gradients["0.weight"].ravel():
        assert np.abs(written - entry).min() <= 1e-4
    assert r"y_{n,m} &= \sum_{d} x_{n,d} \cdot \text{weight}_{m,d} + \text{bias}_{m}" in forward
    assert r"\textit{x} is y of 0 (Linear)." in forward


def test_large_arrays_are_given_by_their_corners():
    text = nasty().to_latex()
    assert r"$\vdots$" in text
    assert r"$\cdots$" in text
    for _, body in re.findall(
        r"\\begin\{tabular\}\{([^}]*)\}\n(.*?)\n\\end\{tabular\}", text, flags=re.DOTALL
    ):
        assert body.count("\\\\") <= 13


def test_findings_are_items():
    trace = dead()
    assert trace.findings
    assert len(re.findall(r"\\item ", trace.to_latex())) == len(trace.findings)
    assert "Nothing stands out" in small().to_latex()


def test_anybodys_words():
    assert words("a_b<c>") == r"a\_b\textless{}c\textgreater{}"
    assert words("é") == "é"
    assert words("中") == "[U+4E2D]"
    assert words("a\nb") == "a b"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.5, "0.5000"),
        (-3.14e-7, r"-3.140 \cdot 10^{-7}"),
        (np.inf, r"\infty"),
        (np.nan, r"\mathrm{NaN}"),
        (2, "2"),
    ],
)
def test_numbers(value, text):
    assert figure(value) == text
