"""The studies' pages: written from a run, with every number and picture of it; the notebooks run."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from matplotlib.image import imread

from scratchnn import studies
from scratchnn.studies import StudyError, pages

DOCS = Path(__file__).parent.parent / "docs" / "studies"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The pages of two short runs."""
    folder = tmp_path_factory.mktemp("pages")
    pages.write("moons", folder, play=False, epochs=20)
    pages.write("circles", folder, play=False, epochs=1, reference=False)
    pages.write_gallery(folder)
    return folder


def images_of(page):
    return [page.parent / link for link in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text())]


def test_a_page_tells_what_the_lesson_told(folder):
    text = (folder / "moons.md").read_text()
    assert text.startswith("# Moons: ")
    for words in (
        "## Beside PyTorch",
        "| initial weights | identical |",
        "## Why can the loss not fall below 0.3133",
        "softmax, then cross-entropy |",
        "def network(",
        "scratchnn study moons",
    ):
        assert words in text
    assert "/tmp" not in text
    images = images_of(folder / "moons.md")
    assert [image.stem for image in images] == [
        "data",
        "loss",
        "probability",
        "side-by-side-loss",
        "side-by-side",
    ]
    assert all(image.exists() for image in images)


def test_a_report_of_several_lines_stays_as_it_is(folder):
    text = (folder / "circles.md").read_text()
    assert re.search(r"```text\n\s+precision +recall", text)
    assert "Beside PyTorch" not in text


def test_the_gallery_shows_each_study_that_has_a_page(folder):
    text = (folder / "README.md").read_text()
    assert "moons/side-by-side.png" in text
    assert "circles/probability.png" in text
    assert "sine" not in text
    assert pages.gallery(folder, "docs/studies/").count("docs/studies/") == 6
    assert all(image.exists() for image in images_of(folder / "README.md"))


def run_cells(book, monkeypatch, **short):
    """Run every code cell in one namespace; `short` goes to each call of the study's run."""
    space = {}
    for cell in book.cells:
        if cell.cell_type == "code":
            exec(cell.source.removeprefix("%matplotlib inline\n"), space)  # Jupyter's own word
            for name in studies.NAMES:
                if short and name in space and not getattr(space[name], "_short", False):
                    run = space[name].run
                    monkeypatch.setattr(
                        space[name], "run", lambda run=run, **given: run(**{**given, **short, "quiet": True})
                    )
                    monkeypatch.setattr(space[name], "_short", True, raising=False)
    return space


def test_a_notebook_of_a_run_is_valid_and_runs(folder, monkeypatch):
    book = nbformat.read(folder / "moons.ipynb", as_version=4)
    nbformat.validate(book)
    space = run_cells(book, monkeypatch, epochs=3)
    assert space["result"].numbers["epochs"] == 3
    assert sum('result.figures["' in cell.source for cell in book.cells) == 5


def test_a_page_of_no_study_is_refused(tmp_path):
    with pytest.raises(StudyError, match="did you mean"):
        pages.write("squares", tmp_path)
    with pytest.raises(SystemExit, match="usage"):
        pages.main([])


@pytest.mark.parametrize("name", studies.NAMES)
def test_the_page_in_the_repository_is_complete(name):
    page = DOCS / f"{name}.md"
    images = images_of(page)
    assert images
    for image in images:
        assert image.stat().st_size < pages.MOST_BYTES
        assert min(imread(image).shape[:2]) > 150
    text = page.read_text()
    assert "Written by `python -m scratchnn.studies.pages" in text
    assert "## Beside PyTorch" in text
    assert "| pass |" in text
    assert "FAIL" not in text


@pytest.mark.parametrize("name", studies.NAMES)
def test_the_notebook_in_the_repository_runs(name, monkeypatch):
    """With one epoch: its cells name pictures and functions that are there."""
    book = nbformat.read(DOCS / f"{name}.ipynb", as_version=4)
    nbformat.validate(book)
    space = run_cells(book, monkeypatch, epochs=1)
    assert json.dumps(space["result"].numbers, allow_nan=False)
