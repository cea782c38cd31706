"""An executed notebook as one page of HTML that stands alone: no script, nothing from a network, good in print.

Formulas are MathML, and each figure is embedded, with a caption and its words for readers
who do not see it. Progress bars are left out.
"""

import html
import re
import unicodedata
from copy import deepcopy
from urllib.parse import quote

from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from pygments.formatters import HtmlFormatter

_CSS = """
body{font:17px/1.55 Georgia,"DejaVu Serif",serif;color:#1b1b1b;max-width:50em;margin:2em auto;padding:0 1.2em}
h1,h2,h3,nav,th,td,figcaption{font-family:"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;line-height:1.25}
h2{margin-top:2.2em;border-bottom:1px solid #ccc;padding-bottom:.2em}
nav{font-size:.85em;margin:0 0 2em}nav a{margin-right:1.1em}a{color:#0b5394}a.anchor-link{display:none}
figure{margin:1.4em 0}figcaption{font-size:.8em;color:#444;margin-top:.4em}
img{max-width:100%;height:auto}pre{font-size:.76em;line-height:1.4;overflow-x:auto}
code,pre{font-family:"DejaVu Sans Mono",Menlo,Consolas,monospace}
.highlight pre{background:#f6f6f4;border-left:3px solid #bbb;padding:.6em .9em;margin:.8em 0}
.prompt{display:none}table{border-collapse:collapse;font-size:.8em;margin:1em 0;display:block;overflow-x:auto}
th,td{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:left;white-space:nowrap}
.dataframe td,.dataframe th{text-align:right;font-variant-numeric:tabular-nums}math{font-size:1.05em}
footer{margin-top:4em;border-top:1px solid #ccc;font-size:.8em;color:#444}
@media print{body{max-width:none;margin:0;font-size:10.5pt}nav{display:none}a{color:inherit;text-decoration:none}
figure,table,pre,.highlight{break-inside:avoid}h2,h3{break-after:avoid}table{display:table;font-size:7.5pt}
pre{white-space:pre-wrap}img{max-height:230mm}@page{margin:18mm 16mm}}
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>{css}</style></head>
<body><nav>{links}</nav><main>{body}</main><footer>{footer}</footer></body></html>
"""


def page(title: str, body: str, footer: str, links: dict[str, str] | None = None) -> str:
    """A whole page. The title is plain text, body and footer are HTML; `links`, above them, are address -> name."""
    to = "".join(f'<a href="{html.escape(to)}">{html.escape(name)}</a>' for to, name in (links or {}).items())
    css = _CSS + HtmlFormatter().get_style_defs(".highlight")
    return _PAGE.format(title=html.escape(title), css=css, links=to, body=body, footer=footer)


_TEMPLATE = """{% extends 'basic/index.html.j2' %}
{% block codecell %}{% if 'solution' in cell.metadata.tags %}
<details><summary>The solution in code</summary>{{ super() }}</details>
{% else %}{{ super() }}{% endif %}{% endblock %}
"""


def body(notebook: NotebookNode) -> str:
    """The cells of an executed notebook and their outputs as HTML; solutions are folded, places to work left out."""
    notebook = deepcopy(notebook)
    notebook.cells = [cell for cell in notebook.cells if "work" not in cell.metadata.get("tags", [])]
    figures(notebook, replace=True)
    for cell in notebook.cells:
        if "injected-parameters" in cell.metadata.get("tags", []):  # without this machine's folders
            cell.source = re.sub(r'^(?:figures|measured) = ".*"\n?', "", cell.source, flags=re.M)
            cell.source = re.sub(r'^(dataset = ").*/(.*")$', r"\1\2", cell.source, flags=re.M)
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_progress(output)]
    notebook.metadata.pop("widgets", None)
    exporter = HTMLExporter(template_name="basic", raw_template=_TEMPLATE, filters={"markdown2html": to_html})
    return exporter.from_notebook_node(notebook)[0]


def _is_progress(output: NotebookNode) -> bool:
    return output.get("name") == "stderr" or "application/vnd.jupyter.widget-view+json" in output.get("data", {})


# --- text ---


class _Renderer(IPythonRenderer):
    """nbconvert's, which leaves formulas to a script."""

    def inline_math(self, body: str) -> str:
        return _mathml(body, "inline")

    def block_math(self, body: str) -> str:
        return _mathml(body, "block")

    def latex_environment(self, name: str, body: str) -> str:
        return _mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")


def _mathml(formula: str, display: str) -> str:
    """TeX as MathML; bold and script letters as characters of their own, since browsers know no attribute for them."""

    def letter(match: re.Match) -> str:
        variant, plain = match.groups()
        name = f"{variant.replace('-', ' ')} {'capital' if plain.isupper() else 'small'} {plain}"
        try:
            return f"<mi>{unicodedata.lookup(f'mathematical {name}')}</mi>"
        except KeyError:  # some script letters are older than the others
            return f"<mi>{unicodedata.lookup(name)}</mi>"

    made = convert(formula, display=display)
    return re.sub(r'<mi mathvariant="(bold-italic|script)">([A-Za-z])</mi>', letter, made)


def to_html(markdown: str) -> str:
    """Markdown as HTML, $...$ and $$...$$ as MathML."""
    return MarkdownWithMath(renderer=_Renderer(escape=False)).render(markdown)


# --- figures ---


def figures(notebook: NotebookNode, replace: bool = False) -> dict[str, str]:
    """The figures of an executed notebook, numbered from 1, each under the heading that it stands under.

    They are name -> HTML; one that `plotting.save` did not name has its number. SVG is preferred to PNG. With
    `replace`, the HTML is also put in the place of the pictures.
    """
    found: dict[str, str] = {}
    heading = ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = re.sub(r"```.*?```", "", cell.source, flags=re.S)
            heading = [heading, *re.findall(r"^#+ +(.+)$", text, re.M)][-1]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            kind = next((kind for kind in ("image/svg+xml", "image/png") if kind in data), None)
            if kind:
                name = _name(data[kind]) if kind == "image/svg+xml" else ""
                made = _figure(len(found) + 1, re.sub(r"[$`*]", "", heading), name, kind, data[kind])
                found[name or str(len(found) + 1)] = made
                if replace:
                    output.data = {"text/html": made}
    return found


def _figure(number: int, heading: str, name: str, kind: str, picture: str) -> str:
    if kind == "image/svg+xml":
        words, source = _words(picture), "," + quote(picture, safe=" !$()*+,-./:;=?@[]_'")
    else:
        words, source = [], ";base64," + "".join(picture.split())
    described = heading + (f"; in the figure: {', '.join(words)}" if words else "")
    caption = f"Figure {number}. {html.escape(heading)}" + (f" <code>{html.escape(name)}</code>" if name else "")
    image = f'<img src="data:{kind}{source}" alt="{html.escape(described)}">'
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _name(svg: str) -> str:
    """The name that `plotting.save` gave a figure; matplotlib's own count is none."""
    name = re.search(r'<g id="([^"]*)"', svg)
    return "" if name is None or re.fullmatch(r"figure_\d+", name[1]) else html.unescape(name[1])


def _words(svg: str) -> list[str]:
    """The texts of a figure, once each and without those that are numbers: matplotlib draws them as outlines, and
    keeps them as comments.
    """
    texts = [html.unescape(text.strip()) for text in re.findall(r"<!--(.*?)-->", svg, re.S)]
    texts = [re.sub(r"\\(hat|tilde)\{(.)\}", r"\2 \1", text) for text in texts if r"\mathdefault" not in text]
    texts = [text.replace(r"\lfloor ", "⌊").replace(r"\rceil", "⌉") for text in texts]
    plain = (re.sub(r"\\,|\\mathcal|[$\\{}]", "", text) for text in texts)
    return list(dict.fromkeys(text for text in plain if not re.fullmatch(r"[-−+]?[\d.]*", text)))
