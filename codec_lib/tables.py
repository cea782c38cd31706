"""Tables as lists of rows (dicts): to a CSV file and back, as pandas shows them, and as Markdown."""

import csv
import io
import math
import re
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path

from codec_lib.errors import BadData
from codec_lib.files import read_bytes, write_bytes

Row = dict[str, object]

_INTEGER = re.compile(r"[+-]?(0|[1-9]\d*)")  # 0801 is the name of a picture
_REAL = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?|[+-]?inf|nan")


def columns_of(rows: Iterable[Row]) -> list[str]:
    """Every column that occurs, in order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def write_csv(path: str | Path, rows: list[Row], digits: int = 6) -> None:
    """Write rows as CSV, UTF-8, one header line; the file is replaced in one step.

    Args:
        path: file to write; its folder must exist.
        rows: at least one; a column that a row lacks, or that is None, is left empty.
        digits: decimals kept of a float, so that the last bits of a sum do not change the file.

    Raises:
        ValueError: no rows, hence no columns.
        BadData: the file cannot be written.
    """
    if not rows:
        raise ValueError("a table needs at least one row")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns_of(rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _rounded(value, digits) for name, value in row.items()} for row in rows)
    write_bytes(path, text.getvalue().encode())


def read_csv(path: str | Path) -> list[Row]:
    """The rows of a CSV file, `BadData` if it is none; what looks like a number becomes one, an empty field None."""
    try:
        reader = csv.DictReader(io.StringIO(read_bytes(path).decode(), newline=""), strict=True)
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadData(f"{path} is not a CSV table in UTF-8.") from error
    if not reader.fieldnames or any(None in row or None in row.values() for row in rows):
        raise BadData(f"{path} is not a CSV table: its lines differ in length, or it is empty.")
    return [{name: _parsed(value) for name, value in row.items()} for row in rows]


def show(rows: list[Row], columns: list[str] | None = None, digits: int | dict[str, int] = 3) -> None:
    """Display a table in a notebook, as HTML where that can be shown, else as text; arguments as of `to_text`."""
    from IPython.display import display
    from pandas import DataFrame, option_context

    columns = columns_of(rows) if columns is None else columns
    table = DataFrame({c: [_shown(row, c, digits) for row in rows] for c in columns})
    with option_context("display.max_colwidth", None):
        in_html = table.to_html(index=False, border=0)
    display({"text/plain": table.to_string(index=False), "text/html": in_html}, raw=True)


def to_text(rows: list[Row], columns: list[str] | None = None, digits: int | dict[str, int] = 3) -> str:
    """An aligned table in Markdown: numbers to the right, rounded.

    Args:
        rows: the table.
        columns: which columns to show, in this order; all by default.
        digits: decimals of floats, for all columns or by column (3 for those not named).
    """
    columns = columns_of(rows) if columns is None else list(columns)
    cells = [[_shown(row, c, digits).replace("|", "\\|") for c in columns] for row in rows]
    widths = [max([3, len(c), *(len(line[i]) for line in cells)]) for i, c in enumerate(columns)]
    right = [all(_is_number(row.get(c)) or row.get(c) is None for row in rows) for c in columns]

    def line(values: list[str]) -> str:
        padded = [v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True)]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)]
    return "\n".join([line(columns), line(rule), *map(line, cells)])


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def steady(rows: list[Row]) -> list[Row]:
    """The rows with four significant digits of each float but integers: what another processor computes alike.

    Floats of g_a that differ in their last bits turn a few of a picture's symbols, and so its size and PSNR a little.
    """
    return [{name: _significant(value) for name, value in row.items()} for row in rows]


def _significant(value: object) -> object:
    if not _is_number(value) or isinstance(value, Integral) or not math.isfinite(value) or value == round(value):
        return value
    return float(f"{value:.4g}")


def _rounded(value: object, digits: int) -> object:
    if not _is_number(value) or isinstance(value, Integral):
        return value
    value = float(value)
    return round(value, digits) + 0.0 if math.isfinite(value) else value  # + 0.0: no -0.0


def _shown(row: Row, column: str, digits: int | dict[str, int]) -> str:
    value = row.get(column)
    if value is None:
        return ""
    if not _is_number(value) or isinstance(value, Integral):
        return str(value)
    digits = digits.get(column, 3) if isinstance(digits, dict) else digits
    return f"{_rounded(value, digits):.{digits}f}"


def _parsed(text: str) -> object:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _REAL.fullmatch(text):
        return float(text)
    return text or None
