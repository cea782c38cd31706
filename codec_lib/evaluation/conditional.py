"""What notebooks 03 and 04 measure of conditional priors: statistics of latents, where bits go, sizes on the way to a
file, and whether a prediction depends on what a decoder cannot know."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from codec_lib.codecs.codec import Codec, Symbols
from codec_lib.coding.compressor import entropy
from codec_lib.coding.container import unpack
from codec_lib.evaluation.inspection import Inspection, inspect, walk_again
from codec_lib.tables import Row


def neighbours(v: np.ndarray) -> float:
    """Correlation of values at neighbouring positions, (h, w); 0 where they do not vary."""
    a = np.concatenate([v[:, 1:].ravel(), v[1:].ravel()])
    b = np.concatenate([v[:, :-1].ravel(), v[:-1].ravel()])
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def statistics(values: np.ndarray, channels: Sequence[int]) -> dict[str, float]:
    """Medians over channels of values (M, h, w).

    Returns:
        `kurtosis`, 3 for a Gaussian; `coupling`, the correlation of neighbours' amplitudes; `variance`.
    """
    chosen = values[np.asarray(channels)]
    centred = chosen - chosen.mean((1, 2), keepdims=True)
    variance = (centred**2).mean((1, 2))
    return {
        "kurtosis": float(np.median((centred**4).mean((1, 2)) / variance**2)),
        "coupling": float(np.median([neighbours(np.abs(v)) for v in chosen])),
        "variance": float(np.median(variance)),
    }


def by_cost(seen: Inspection) -> np.ndarray:
    """The channels of y, the costliest first."""
    return np.argsort(-seen.bits.sum((1, 2)), kind="stable")


def most_decorrelated(seen: Inspection) -> int:
    """Of the 16 costliest channels that are no thumbnail of the picture, the one that its scales decorrelate most."""
    costly = by_cost(seen)[:16]
    detailed = [m for m in costly if neighbours(seen.y[m]) < 0.5]
    lost = [neighbours(np.abs(seen.y[m])) - neighbours(np.abs(seen.normalised[m])) for m in detailed]
    return int(detailed[np.argmax(lost)]) if detailed else int(costly[0])


def by_scale(
    inspected: Sequence[Inspection], ranges: Mapping[str, tuple[float, float]], edges: np.ndarray
) -> tuple[list[dict], list[Row]]:
    """Normalised latents, put together by their predicted scale, in histograms with bins between `edges`.

    `ranges` are name -> lowest scale, and the one it stays below.

    Returns:
        The panels of `plotting.histograms`, with N(0, 1) as the table, and a row for each range that any scale is in.
    """
    scale = np.concatenate([seen.scale.ravel() for seen in inspected])
    normalised = np.concatenate([seen.normalised.ravel() for seen in inspected])
    centres = (edges[1:] + edges[:-1]) / 2
    normal = np.exp(-(centres**2) / 2) / np.sqrt(2 * np.pi) * np.diff(edges)
    panels, rows = [], []
    for name, (low, high) in ranges.items():
        v = normalised[(scale >= low) & (scale < high)]
        if not len(v):
            continue
        panels.append({"name": name, "value": centres, "seen": np.histogram(v, edges)[0] / len(v), "table": normal})
        beyond = 100 * np.mean(np.abs(v) > 3)
        rows.append({"scale": name, "symbols [%]": 100 * len(v) / len(scale), "variance": float(v.var()),
                     "beyond 3 σ [%]": beyond})  # fmt: skip
    return panels, rows


def shares_of_dearest(blocks: np.ndarray, percents: Sequence[int]) -> dict[int, float]:
    """Percent of the blocks, the dearest -> the percent of all bits that they have."""
    sums = np.sort(blocks.ravel())[::-1].cumsum()
    return {p: float(100 * sums[round(p / 100 * sums.size) - 1] / sums[-1]) for p in percents}


def sizes(codec: Codec, pixels: np.ndarray) -> list[Row]:
    """Bits of z, of y and of both, on the way to a file: densities, integer tables, each coder's streams, the file."""
    seen = inspect(codec, pixels)
    channel = np.repeat(np.arange(len(seen.z)), seen.z[0].size)
    ideal = {
        "z": codec.tables["z"].bits(seen.z.ravel().astype(int), channel),
        "y": codec.tables["y"].bits(seen.symbols.ravel().astype(int), seen.tables.ravel()),
    }
    rows = [{"size": "estimate of the model", "z": float(seen.bits_z.sum()), "y": float(seen.bits.sum())},
            {"size": "ideal of the integer tables", **ideal}]  # fmt: skip
    files = {coder: codec.encode(pixels, coder) for coder in codec.coders}
    for coder, data in files.items():
        z, y = (8 * len(stream) for stream in unpack(data).streams)
        rows.append({"size": f"streams of {coder}", "z": z, "y": y})
    rows = [row | {"both": row["z"] + row["y"]} for row in rows]
    rows.append({"size": f"file ({codec.coders[0]})", "both": 8 * len(files[codec.coders[0]])})
    return [
        row | {f"{s}, above estimate [%]": row.get(s) and 100 * (row[s] / rows[0][s] - 1) for s in ("z", "y", "both")}
        for row in rows
    ]


def escaped(codec: Codec, seen: Inspection) -> np.ndarray:
    """Which symbols of y lie outside of their tables, bool (M, h, w)."""
    tables = codec.tables["y"]
    return tables.to_bins(seen.symbols, seen.tables)[0] == tables.widths[seen.tables] - 1


@torch.inference_mode()
def price_of_integers(codec: Codec, seen: Inspection) -> Row:
    """Bits of z and y as the model in floats estimates them and as the exact networks do, and the difference [%]."""
    bits = codec.network.code(torch.from_numpy(seen.y).float()[None])[1]
    floats, integers = sum(b.item() for b in bits.values()), float(seen.bits.sum() + seen.bits_z.sum())
    cost = 100 * (integers / floats - 1)
    return {"floats [bit]": floats, "integers [bit]": integers, "cost of the integers [%]": cost}


def entropies(z: np.ndarray) -> np.ndarray:
    """Entropy of each channel's symbols, (N, n), bits."""
    return np.array([entropy(channel) for channel in z])


def explained(seen: Inspection, channels: Sequence[int], where: np.ndarray) -> dict[str, float]:
    """What means tell of y at positions `where`, bool (h, w): medians over channels.

    A channel's share is 1 - var(y - mean) / var(y), each variance around its own average, so that a channel far from
    zero gains nothing from a constant mean.
    """
    y, left = seen.y[channels][:, where], (seen.y - seen.mean)[channels][:, where]
    share = 1 - left.var(1) / np.maximum(y.var(1), 1e-12)
    bits = seen.bits[channels][:, where].mean(1)
    return {"explained by the mean [%]": 100 * float(np.median(share)), "bits per symbol": float(np.median(bits))}


def changed_by(codec: Codec, symbols: Symbols, y: int, x: int) -> np.ndarray:
    """How many channels [%] get another mean or table, (h, w), when the symbols at (y, x) are raised by one."""
    other = {stream: values.copy() for stream, values in symbols.items()}
    other["y"][:, y, x] += 1
    a, b = walk_again(codec, symbols), walk_again(codec, other)
    return 100 * ((a.means != b.means) | (a.tables != b.tables)).mean(0)


def neighbourhoods(y_hat: Tensor, offsets: Sequence[tuple[int, int]]) -> Tensor:
    """The neighbours of each position at (dy, dx), zero beyond the border: (M, h, w) -> (h w, taps M)."""
    padded = F.pad(y_hat, (2, 2, 2, 2))
    h, w = y_hat.shape[1:]
    taps = [padded[:, 2 + dy : 2 + dy + h, 2 + dx : 2 + dx + w] for dy, dx in offsets]
    return torch.stack(taps).permute(2, 3, 0, 1).reshape(h * w, -1)


def sums(v: Tensor, W: Tensor) -> Iterator[Tensor]:
    """W v, (n, i) and (o, i) -> (n, o), the same thing on paper in nine ways."""
    n = v.shape[1]
    halves = [slice(0, n // 2), slice(n // 2, n)]
    shuffled = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    yield F.linear(v, W)
    yield v @ W.T.contiguous()
    yield (W @ v.T).T
    yield sum(F.linear(v[:, k], W[:, k]) for k in halves)
    yield sum(F.linear(v[:, k], W[:, k]) for k in reversed(halves))
    yield F.linear(v.flip(1), W.flip(1))
    yield F.linear(v[:, shuffled], W[:, shuffled])
    yield torch.stack([W @ row for row in v])
    yield F.conv2d(v.T[None, :, None], W[:, :, None, None])[0, :, 0].T
