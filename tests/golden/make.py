"""Write the golden files: `python tests/golden/make.py [MODEL ...]`. See README.md before you do."""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codec_lib import datasets, images, registry
from codec_lib.codecs import freezing
from codec_lib.codecs.codec import Codec, Symbols
from codec_lib.coding.container import VERSION
from codec_lib.coding.range_coding import CODERS
from codec_lib.files import write_bytes
from codec_lib.networks import models
from codec_lib.training import initialisation
from codec_lib.weights import weight_files

HERE = Path(__file__).parent
SEED, LMBDA = 0, 0.025


def folder_of(model: str) -> Path:
    """The factorized files were here first; each other model has a folder of its own."""
    return HERE if model == "factorized" else HERE / model


def make_weights(name: str) -> None:
    """A model fitted to 96x96 crops of the embedded photographs; its means and scales depend on all there is."""
    crops = datasets.centre_crops(datasets.find("embedded"), 96).float() / 255
    torch.manual_seed(SEED)
    model = models.make(name, "tiny", LMBDA)
    initialisation.initialise(model, crops, LMBDA)
    if name != "factorized":
        for last in [part.layers[-1] for part in getattr(model, "slices", ())] or [model.readout]:
            with torch.no_grad():
                last.weight.add_(0.05 * torch.randn_like(last.weight))
    folder_of(name).mkdir(exist_ok=True)
    weight_files.save(freezing.freeze(model, "tiny", LMBDA), folder_of(name) / "tiny.safetensors")


def with_outliers(frozen: Codec, symbols: Symbols) -> Symbols:
    """The symbols, about one in ten replaced by one at the edge of its table, just beyond, or far away."""
    generator = np.random.default_rng(SEED)

    def odd(stream: str, table: int) -> list[int]:
        first = int(frozen.tables[stream].offsets[table])
        escape = first + int(frozen.tables[stream].widths[table]) - 1
        return [first - 1, first, escape - 1, escape, 30_000, -30_000, 2**30, -(2**30), 2**31 - 1, -(2**31)]

    out = {stream: values.copy() for stream, values in symbols.items()}
    if "z" not in out:
        for channel, values in enumerate(out["y"]):
            where = generator.choice(values.size, 4, replace=False)
            values.reshape(-1)[where] = generator.choice(odd("y", channel), 4, replace=False)
        return out
    for channel, values in enumerate(out["z"]):  # in one corner: they drive the scales around to their limits
        values[-1, -1] = odd("z", channel)[channel % 10]
    rows = torch.from_numpy(out["y"].astype(np.float64)).flatten(1).T

    def code(positions: Tensor, mean: Tensor, index: Tensor) -> Tensor:
        values = rows[positions]
        for at in np.argwhere(generator.random(values.shape) < 0.1).tolist():
            values[*at] = int(generator.choice(odd("y", int(index[*at]))))
        return values

    return frozen.walk(out["z"], *out["y"].shape[1:], code)[0]


def csv_of(folder: Path, name: str, stream: str) -> Path:
    """Where symbols lie: a row for each channel."""
    return folder / (f"{name}.csv" if folder == HERE else f"{name}-{stream}.csv")


def main() -> None:
    """The weights of the models that are named, then of all models everything that follows from the weights."""
    pixels = images.read_image(datasets.find("embedded")[0])[0][45:128, 175:276]
    images.write_picture(HERE / "photo.png", pixels)
    for model in registry.PRIORS:
        folder = folder_of(model)
        if model in sys.argv[1:]:
            make_weights(model)
        if not (folder / "tiny.safetensors").is_file():
            continue
        frozen = weight_files.read(folder / "tiny.safetensors")
        images.write_picture(folder / "photo-decoded.png", frozen.estimate(pixels)[0])
        photo = frozen.analyse(pixels)
        for name, symbols in {"photo": photo, "outliers": with_outliers(frozen, photo)}.items():
            for stream, values in symbols.items():
                np.savetxt(csv_of(folder, name, stream), values.reshape(len(values), -1), "%d", ",")
            for coder in CODERS:
                if coder == "constriction" or not frozen.network.order.many:
                    data = frozen.write_symbols(symbols, *pixels.shape[:2], coder)
                    write_bytes(folder / f"{name}-{coder}-{VERSION}.cbk", data)


if __name__ == "__main__":
    main()
