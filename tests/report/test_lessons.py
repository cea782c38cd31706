"""Each notebook is a lesson as CONTRIBUTING.md has it: a question, a picture, exercises with solutions, references."""

import ast
import functools
import re

import nbformat
import pytest
from nbformat import NotebookNode

from codec_lib.places import ROOT

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST = {"setup": 20, "parameters": 20}
"""Tag -> the most lines of a code cell; without one of them it is 12."""
TERMS = {
    "entropy": "entropy",
    "Huffman code": "Huffman",
    "arithmetic coding": "arithmetic",
    "Kullback-Leibler divergence": r"Kullback|D_\{\\mathrm\{KL",
    "straight-through": "straight.through",
    "Lagrange multiplier": "Lagrange",
    "generalised divisive normalisation": "GDN|divisive",
    "Karhunen-Loève transform": "KLT|Karhunen",
    "MS-SSIM": "MS-SSIM",
    "Muon": "Muon",
}
"""A term, in italics where the story explains it -> what would be a use of it."""


@functools.cache
def cells(path) -> list[NotebookNode]:
    return nbformat.read(path, as_version=4).cells


def has_tag(cell: NotebookNode, tag: str) -> bool:
    return tag in cell.metadata.get("tags", [])


def section(path, begin: str, end: str | None = None) -> list[NotebookNode]:
    """The cells after the one that begins with a heading, up to the one that begins with another."""
    found = cells(path)
    starts = [c.source.split("\n")[0] if c.cell_type == "markdown" else "" for c in found]
    return found[starts.index(begin) + 1 : starts.index(end) if end else None]


lessons = pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)


@lessons
def test_a_lesson_begins_with_its_question(path):
    first = cells(path)[0]
    assert first.cell_type == "markdown" and first.source.startswith(f"# {path.stem[:2]} · ")
    (question,) = (p for p in first.source.split("\n\n") if p.startswith("**The question.**"))
    assert "?" in question


@lessons
def test_a_lesson_has_parameters_an_equation_and_a_picture(path):
    all_cells = cells(path)
    assert [has_tag(c, "parameters") for c in all_cells].count(True) == 1
    assert any("$" in c.source for c in all_cells if c.cell_type == "markdown")
    assert any("image/png" in o.get("data", {}) for c in all_cells for o in c.get("outputs", []))


@lessons
def test_three_exercises_have_a_place_to_work_and_a_folded_solution_that_ran(path):
    exercises = section(path, "## Exercises", "## Read on")
    assert len(exercises) == 12
    for number in (1, 2, 3):
        task, work, words, code = exercises[4 * number - 4 : 4 * number]
        assert task.cell_type == "markdown" and task.source.startswith(f"**Exercise {number}.**")
        assert has_tag(work, "work") and not ast.parse(work.source).body
        assert words.source.startswith(f"<details><summary>Solution {number}</summary>\n\n")
        assert words.source.endswith("</details>")
        assert has_tag(code, "solution") and code.metadata.jupyter == {"source_hidden": True, "outputs_hidden": True}
        assert code.execution_count and code.outputs, "it has run, and says what came out"
        assert all(output.output_type != "error" for output in code.outputs)


@lessons
def test_a_lesson_ends_with_references(path):
    last = cells(path)[-1].source
    assert last.startswith("## Read on\n")
    references = re.split(r"^[*-] ", last, flags=re.M)[1:]
    assert len(references) >= 2
    for reference in references:
        assert re.search(r"\*[^*]+\*", reference), f"no title in italics: {reference}"
        assert re.search(r"\b(19|20)\d\d\b", reference), f"no year: {reference}"


@lessons
def test_code_cells_are_short_and_define_no_classes(path):
    for cell in (c for c in cells(path) if c.cell_type == "code"):
        most = next((n for tag, n in LONGEST.items() if has_tag(cell, tag)), 12)
        assert len([line for line in cell.source.split("\n") if line.strip()]) <= most, cell.source
        assert not re.search(r"^\s*class ", cell.source, re.M)


@pytest.mark.parametrize("term", TERMS)
def test_a_term_is_explained_where_the_story_first_uses_it(term):
    prose = (c for path in PATHS for c in cells(path) if c.cell_type == "markdown")
    first = next(c for c in prose if re.search(TERMS[term], re.split("^## Read on", c.source)[0], re.I))
    assert re.search(rf"(?<!\*)\*{re.escape(term)}\*(?!\*)", re.sub(r"\s+", " ", first.source), re.I), first.source
