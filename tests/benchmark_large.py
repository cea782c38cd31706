"""Peak memory and time of the commands `encode` and `decode` on large pictures, each in a process of its own.

    python tests/benchmark_large.py --pictures DIR --megapixels 24 --model hyperprior --quality 2 [--weights FOLDER]

The picture is a mosaic of the photographs in DIR. With --untiled the same is done in one tile, for comparison.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from codec_lib.registry import AUTOENCODERS

MOSAIC = """
import sys
from pathlib import Path
from PIL import Image
width, height, target, *paths = sys.argv[1:]
mosaic, x, y, row, k = Image.new("RGB", (int(width), int(height))), 0, 0, 0, 0
while y < mosaic.height:
    with Image.open(paths[k % len(paths)]) as picture:
        picture = picture.convert("RGB")
    mosaic.paste(picture, (x, y))
    x, row, k = x + picture.width, max(row, picture.height), k + 1
    if x >= mosaic.width:
        x, y, row = 0, y + row, 0
mosaic.save(target, compress_level=1)
"""
MAIN = "import sys; from codec_lib.__main__ import main; sys.exit(main())"
UNTILED = "from codec_lib.codecs import tiles; tiles.CORE = 10**6;" + MAIN
PSNR = """
import sys
from codec_lib import images, metrics
print(f"{metrics.psnr(*(images.read_image(path)[0] for path in sys.argv[1:])):.4f} dB")
"""


def run(code: str, *arguments: object) -> tuple[float, float]:
    """Seconds and peak resident memory, MB, of a process."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)])
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"error: {arguments[0]} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=Path, required=True, metavar="DIR")
    parser.add_argument("--megapixels", type=float, default=24)
    parser.add_argument("--model", default="hyperprior")
    parser.add_argument("--quality", default="2", help="of an autoencoder, its bits")
    parser.add_argument("--weights", help="a folder of weight files; those of the package without it")
    parser.add_argument("--untiled", action="store_true")
    args = parser.parse_args()
    width = round((args.megapixels * 1e6 * 1.5) ** 0.5)
    height = round(width / 1.5)
    choice = ["--model", args.model, "--bits" if args.model in AUTOENCODERS else "--quality", args.quality]
    weights = ["--weights", args.weights] if args.weights else []
    os.environ.setdefault("CODECBOOK_MAX_PIXELS", str(10**9))
    with tempfile.TemporaryDirectory() as folder:
        source, file, back = (Path(folder) / name for name in ("a.png", "a.cbk", "b.png"))
        run(MOSAIC, width, height, source, *sorted(args.pictures.glob("*.jpg")))
        print(f"{args.model}, quality {args.quality}: {width}x{height}")
        for code in (MAIN, UNTILED) if args.untiled else (MAIN,):
            seconds, peak = run(code, "encode", source, file, *choice, *weights)
            print(f"encode: {seconds:.1f} s, peak {peak:.0f} MB; {file.stat().st_size:,} bytes", flush=True)
            seconds, peak = run(code, "decode", file, back, *weights)
            print(f"decode: {seconds:.1f} s, peak {peak:.0f} MB", flush=True)
            run(PSNR, source, back)
            file.unlink()
            back.unlink()


if __name__ == "__main__":
    main()
