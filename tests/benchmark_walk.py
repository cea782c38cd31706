"""Time the entropy coding of a joint model's latent: `python tests/benchmark_walk.py --help`.

The latent is that of a 768x512 picture at N = M = 192, the papers' low-rate size. The weights are
random, but give the latent standard deviations from 8 down to 1/8, as trained models have them
(`timing.stand_in`). Timed is all between symbols and bytes: h_s, contexts, entropy parameters, coder.
The serial loop is the same walk over the same exact networks, one position after the other.
"""

import argparse

import numpy as np
import torch
from codec_lib.coding.context import RASTER, WAVEFRONT, Order

from codec_lib import images
from codec_lib.codecs.codec import Codec
from codec_lib.coding.container import unpack
from codec_lib.evaluation import timing


def random_photograph() -> np.ndarray:
    """768x512 pixels of smooth noise, which a latent with random weights can be made from."""
    coarse = torch.rand(1, 3, 33, 49, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, size=(512, 768), mode="bicubic").clamp(0, 1)
    return images.to_pixels(smooth)


def measure(frozen: Codec, order: Order, symbols: dict[str, np.ndarray], repeats: int) -> tuple[float, float, int]:
    """Seconds to encode and to decode, and the bytes; decoded symbols are compared."""
    frozen.network.order = order
    data = frozen.write_symbols(symbols, 512, 768)
    container = unpack(data)
    back = frozen.read_symbols(container)
    assert all(np.array_equal(back[stream], symbols[stream]) for stream in symbols)
    encode = timing.least(lambda: frozen.write_symbols(symbols, 512, 768), repeats)
    return encode, timing.least(lambda: frozen.read_symbols(container), repeats), len(data)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (default: 2)")
    parser.add_argument("--repeats", type=int, default=5, help="of the wavefront, the least time counts (default: 5)")
    parser.add_argument("--no-serial", action="store_true", help="leave the serial loop out")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    pixels = random_photograph()
    frozen = timing.stand_in("joint", pixels)
    symbols = frozen.analyse(pixels)
    print(f"{torch.get_num_threads()} threads, {symbols['y'].size:,} symbols")
    fast = measure(frozen, WAVEFRONT, symbols, args.repeats)
    print(f"wavefront  encode {fast[0]:.3f} s  decode {fast[1]:.3f} s  {fast[2]:,} bytes")
    if not args.no_serial:
        slow = measure(frozen, RASTER, symbols, 1)
        print(f"serial     encode {slow[0]:.3f} s  decode {slow[1]:.3f} s  {slow[2]:,} bytes")
        print(f"ratio      encode {slow[0] / fast[0]:.1f}    decode {slow[1] / fast[1]:.1f}")


if __name__ == "__main__":
    main()
