"""A page of HTML holds all that it shows: formulas, tables and figures, with words for those who do not see them."""

import re
from html import unescape
from urllib.parse import unquote
from xml.etree import ElementTree

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from codec_lib import tables
from codec_lib.places import ROOT
from codec_lib.report import webpage

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MATHML = "{http://www.w3.org/1998/Math/MathML}"


def page_of(*cells) -> str:
    return webpage.page("Title", webpage.body(new_notebook(cells=list(cells))), "end")


def printed(text: str, name: str = "stdout"):
    return new_code_cell("print()", outputs=[new_output("stream", name=name, text=text)], execution_count=1)


def drawn(*pictures: dict):
    return new_code_cell("show()", outputs=[new_output("display_data", picture) for picture in pictures])


def svg(name: str, *words: str) -> dict:
    texts = "".join(f'<g><!-- {word} --><path d="M 1,2"/></g>' for word in words)
    figure = f'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><g id="{name}">{texts}</g>\n</svg>\n'
    return {"image/svg+xml": figure, "text/plain": "<Figure>"}


# --- the page ---


def test_a_page_stands_alone():
    progress = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}})
    nb = new_notebook(cells=[new_markdown_cell("$x^2$"), printed("hello"), new_code_cell("", outputs=[progress])])
    nb.cells.append(drawn(svg("a"), {"image/png": "iVBORw0K\nGgo=\n"}))
    nb.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    page = webpage.page("Title", webpage.body(nb), "end")
    assert not re.search(r"<script|<link|<iframe|widget", page)
    sources = re.findall(r'src="([^"]*)"', page)
    assert len(sources) == 2 and all(source.startswith("data:image/") for source in sources)
    text = re.sub(r'src="[^"]*"', "", page)
    assert set(re.findall(r"https?://[^\"\s]+", text)) == {"http://www.w3.org/1998/Math/MathML"}
    assert "<math" in page and "hello" in page


def test_a_page_tells_the_parameters_but_not_the_folders_of_the_machine():
    source = '# Parameters\ndataset = "kodak"\nfigures = "/home/me/scratch"\nmeasured = "build/measured"\n'
    injected = new_code_cell(source, metadata={"tags": ["injected-parameters"]})
    page = page_of(injected, new_code_cell('figures = "a"'))
    text = re.sub(r"<[^>]+>", "", page)
    assert "dataset = &quot;kodak&quot;" in text or 'dataset = "kodak"' in unescape(text)
    assert "scratch" not in text and "measured" not in text
    assert 'figures = "a"' in unescape(text)
    injected.source = source.replace("kodak", "/home/me/my pictures")
    assert 'dataset = "my pictures"' in unescape(re.sub(r"<[^>]+>", "", page_of(injected)))


def test_a_page_says_what_it_is_and_links_to_others():
    page = webpage.page("a < b", "<p>c</p>", "<i>d</i>", {"index.html": "report & all"})
    assert "<title>a &lt; b</title>" in page and "<main><p>c</p></main><footer><i>d</i></footer>" in page
    assert '<nav><a href="index.html">report &amp; all</a></nav>' in page


def test_the_notebook_is_left_as_it_is():
    nb = new_notebook(cells=[new_markdown_cell("$x$"), printed("a"), drawn(svg("b"))])
    before = nbformat.writes(nb)
    webpage.body(nb)
    assert nbformat.writes(nb) == before


def test_a_solution_is_folded_and_a_place_to_work_left_out():
    work = new_code_cell("# Your work goes here.", metadata={"tags": ["work"]})
    solution = printed("42")
    solution.metadata = {"tags": ["solution"], "jupyter": {"source_hidden": True, "outputs_hidden": True}}
    page = page_of(work, solution, printed("not the solution"))
    (folded,) = re.findall("<details>.*?</details>", page, re.S)
    assert "42" in folded and "print" in folded and "not the solution" not in folded and "Your work" not in page


def test_progress_bars_are_left_out():
    assert "42 of 43" not in page_of(printed("42 of 43", "stderr"))


# --- formulas ---


def formulas(page: str) -> list[ElementTree.Element]:
    """The formulas of a page; it must close what it opens."""
    assert page.count("<math") == page.count("</math>")
    return [ElementTree.fromstring(math) for math in re.findall(r"<math.*?</math>", page, re.S)]


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("no formula, 5 $ and 6 dollars", "<p>no formula, 5 $ and 6 dollars</p>\n"),
        ("`$x$` stays", "<p><code>$x$</code> stays</p>\n"),
        ("```\n$x$ $$y$$\n```", "<pre><code>$x$ $$y$$\n</code></pre>\n"),
    ],
)
def test_what_is_no_formula_stays(markdown, expected):
    assert webpage.to_html(markdown) == expected


def test_formulas_of_a_page_are_whole():
    page = page_of(new_markdown_cell("with $g_a < 3$, *then* $a_b$ and\n\n$$\\frac{1}{2} *x* $$\n\n- $\\hat{y}$ $c_d$"))
    inline, second, display, *_ = found = formulas(page)
    assert len(found) == 5 and "$" not in page
    assert [e.tag.removeprefix(MATHML) for e in inline.iter()] == ["math", "mrow", "msub", "mi", "mi", "mo", "mn"]
    assert ["".join(math.itertext()) for math in found] == ["ga<3", "ab", "12*x*", "y^", "cd"]
    assert second.get("display") == "inline" and display.get("display") == "block"
    assert [e.text for e in display.find(f".//{MATHML}mfrac").iter(f"{MATHML}mn")] == ["1", "2"]
    assert "<em>then</em>" in page


def test_bold_and_script_letters_are_letters():
    page = page_of(new_markdown_cell(r"$\boldsymbol x \boldsymbol H \mathcal N \mathcal{B} \mathcal B$"))
    assert "".join(formulas(page)[0].itertext()) == "𝒙𝑯𝒩ℬℬ"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_formula_of_the_notebooks_is_understood(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"]
    code = "\n".join(re.sub(r"```.*?```|`[^`]*`", "", cell.source, flags=re.S) for cell in cells)
    page = page_of(*cells)
    assert len(formulas(page)) == len(re.findall(r"\$\$.+?\$\$|\$.+?\$", code, re.S))
    for element in (element for math in formulas(page) for element in math.iter()):
        assert not (element.text or "").startswith("\\")
        assert element.get("mathvariant", "normal") == "normal", "browsers know no other"
    assert "$" not in re.sub(r"<code>.*?</code>", "", webpage.to_html("\n\n".join(c.source for c in cells)), flags=re.S)


# --- figures ---


def test_a_figure_is_embedded_with_a_caption_and_its_words():
    words = (
        "PSNR [dB]",
        r"$\hat{y}$",
        "a &amp; b",
        "JPEG",
        "JPEG",
        r"$\mathcal{N}(0,\sigma^2)$",
        r"$s=\lfloor y-\mu\rceil$",
    )
    picture = svg("05_rate &amp; more", "0.5", "−1", r"$\mathdefault{10^{0}}$", *words)
    page = page_of(new_markdown_cell("# One\n\n## With `code` and $x$\n\n```\n# no heading\n```"), drawn(picture))
    (image,) = re.findall(r"<img[^>]*>", page)
    source, alt = re.search(r'src="data:image/svg\+xml,([^"]*)"', image)[1], re.search(r'alt="([^"]*)"', image)[1]
    assert unquote(unescape(source)) == picture["image/svg+xml"]
    assert unescape(alt) == "With code and x; in the figure: PSNR [dB], y hat, a & b, JPEG, N(0,sigma^2), s=⌊y-mu⌉"
    caption = "<figcaption>Figure 1. With code and x <code>05_rate &amp; more</code></figcaption>"
    assert f"{image}{caption}</figure>" in page and "&lt;Figure" not in page


def test_figures_are_numbered_and_found_by_name():
    under_a = drawn(svg("first"), svg("figure_2")), new_markdown_cell("text"), drawn({"image/png": "iVBORw0K\nGgo=\n"})
    nb = new_notebook(cells=[new_markdown_cell("## A"), *under_a, new_markdown_cell("### B"), drawn(svg("last"))])
    found = webpage.figures(nb)
    assert list(found) == ["first", "2", "3", "last"]
    captions = [re.search("<figcaption>(.*)</figcaption>", made)[1] for made in found.values()]
    assert captions == ["Figure 1. A <code>first</code>", "Figure 2. A", "Figure 3. A", "Figure 4. B <code>last</code>"]
    assert '<img src="data:image/png;base64,iVBORw0KGgo=" alt="A">' in found["3"]
    page = webpage.body(nb)
    assert all(page.count(caption) == 1 for caption in captions) and page.count("<img") == 4


# --- tables ---


def test_a_table_is_one_of_html(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data))
    tables.show([{"model": "a<b", "bpp": 0.5}, {"model": "c|d", "bpp": 12.25}])
    page = page_of(drawn(*shown))
    assert "<th>model</th>" in page and "<td>a&lt;b</td>" in page and "<td>0.500</td>" in page
    assert page.count("<tr") == 3
