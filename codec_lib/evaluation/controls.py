"""The widgets of notebook 07: a board joins controls to a function of their values and shows what it returns."""

import html
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import ipywidgets as widgets
import numpy as np
from PIL import Image

from codec_lib.errors import CodecError
from codec_lib.evaluation.explorer import Shown, open_photograph

ENLARGED = 2
"""Each pixel of a picture is a square of so many on the screen."""


def board(show: Callable[..., Shown], **controls: widgets.Widget) -> widgets.VBox:
    """Controls, the picture that `show` gives for their values, its line, and the seconds that it took.

    A `CodecError` becomes the line, and the picture stays.
    """
    unstretched = widgets.Layout(align_self="flex-start")
    picture, line = widgets.Image(format="png", layout=unstretched), widgets.HTML()

    def update(_=None) -> None:
        start = time.perf_counter()
        try:
            shown = show(**{name: control.value for name, control in controls.items()})
        except CodecError as error:
            line.value = html.escape(str(error))
            return
        picture.value, picture.layout.width = _png(shown.picture), f"{ENLARGED * shown.picture.shape[1]}px"
        line.value = f"{html.escape(shown.caption)} · {time.perf_counter() - start:.2f} s"

    for control in controls.values():
        control.observe(update, "value")
    update()
    return widgets.VBox([widgets.HBox(list(controls.values())), picture, line])


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.repeat(ENLARGED, 0).repeat(ENLARGED, 1)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def chooser(photographs: dict[str, np.ndarray]) -> tuple[widgets.Dropdown, widgets.VBox]:
    """A choice among photographs, and a place that adds the reader's own to them, by upload or by a file's path."""
    choice = widgets.Dropdown(options=list(photographs), description="photograph")
    upload = widgets.FileUpload(accept="image/*", description="your own")
    path = widgets.Text(placeholder="or the path of a file, then Enter", continuous_update=False)
    line = widgets.HTML()

    def add(name: str, source: Path | BinaryIO) -> None:
        name = f"{len(photographs) + 1} {name}"
        try:
            photographs[name] = open_photograph(source)
        except CodecError as error:
            line.value = html.escape(str(error))
            return
        line.value = f"{html.escape(name)} is the photograph now."
        choice.options = list(photographs)
        choice.value = name

    def uploaded(change) -> None:
        for file in change["new"]:
            add(file["name"], io.BytesIO(file["content"]))

    def named(change) -> None:
        add(Path(change["new"]).name, Path(change["new"]))

    upload.observe(uploaded, "value")
    path.observe(named, "value")
    return choice, widgets.VBox([widgets.HBox([choice, upload, path]), line])
