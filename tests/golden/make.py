"""Write the golden files: `python tests/golden/make.py [--weights]`. See README.md before you do."""

import sys
from pathlib import Path

import numpy as np
import torch

from codec_lib import codec, datasets, images, models
from codec_lib.codec import Codec
from codec_lib.entropy_coding import CODERS
from codec_lib.files import write_bytes

HERE = Path(__file__).parent
WEIGHTS = HERE / "tiny.safetensors"
SEED, LMBDA = 0, 0.025


def make_weights() -> None:
    """A model fitted to 96x96 crops of the embedded photographs."""
    crops = datasets.centre_crops(datasets.find("embedded"), 96).float() / 255
    torch.manual_seed(SEED)
    model = models.make("factorized", "tiny", LMBDA)
    models.initialise(model, crops, LMBDA)
    codec.freeze(model, "tiny", LMBDA).save(WEIGHTS)


def with_outliers(frozen: Codec, symbols: np.ndarray) -> np.ndarray:
    """The symbols, about one in ten replaced by one at the edge of its table, just beyond, or far away."""
    tables, generator = frozen.tables["y"], np.random.default_rng(SEED)
    out = symbols.copy()
    for channel in range(len(out)):
        first = int(tables.offsets[channel])
        escape = first + int(tables.widths[channel]) - 1
        odd = [first - 1, first, escape - 1, escape, 30_000, -30_000, 2**30, -(2**30), 2**31 - 1, -(2**31)]
        where = generator.choice(out[channel].size, 4, replace=False)
        out[channel].reshape(-1)[where] = generator.choice(odd, 4, replace=False)
    return out


def main() -> None:
    """Weights if asked for or absent, then everything that follows from them."""
    if "--weights" in sys.argv[1:] or not WEIGHTS.exists():
        make_weights()
    frozen = codec.read(WEIGHTS)
    pixels = images.read_image(datasets.find("embedded")[0])[0][45:128, 175:276]
    images.write_png(HERE / "photo.png", pixels)
    images.write_png(HERE / "photo-decoded.png", frozen.predict(pixels)[0])
    symbols = frozen.analyse(pixels)
    for name, values in {"photo": symbols, "outliers": with_outliers(frozen, symbols)}.items():
        np.savetxt(HERE / f"{name}.csv", values.reshape(len(values), -1), "%d", ",")
        for coder in CODERS:
            write_bytes(HERE / f"{name}-{coder}.cbk", frozen.write_symbols(values, *pixels.shape[:2], coder))


if __name__ == "__main__":
    main()
