"""Files written once decode for ever, and are written again byte for byte. See golden/README.md."""

from pathlib import Path

import numpy as np
import pytest
import torch

from codec_lib import images
from codec_lib.codecs.codec import Codec, Symbols
from codec_lib.coding.container import VERSION, unpack
from codec_lib.coding.integer_tables import Tables
from codec_lib.coding.range_coding import CODERS, Reader, Writer
from codec_lib.registry import PRIORS
from codec_lib.weights import weight_files

GOLDEN = Path(__file__).parents[1] / "golden"

# --- a stream of hand-made tables, in full --------------------------------------------------

TABLES = Tables(
    np.array([2, 8, 4, 8], np.int32),
    np.array([0, -3, 100, -4], np.int32),
    np.array(
        [65000, 536, 1, 655, 10000, 40000, 12000, 2000, 800, 80, 16384, 16384, 16384, 16384, *[8192] * 8], np.int32
    ),
)
GROUPS = [
    ([0, 0, -1, 100, 3, -3, 0, 102, 0, 1, -30_000, 0, 2**30], [0, 0, 1, 2, 3, 1, 0, 2, 1, 1, 3, 0, 2]),
    ([], []),
    ([-4, 2, 5, 0, 1, -(2**31), 2**31 - 1, 103, 99], [3, 3, 3, 0, 0, 1, 1, 2, 2]),
]
STREAMS = {
    "constriction": "1700d7d403b2feffff070400f9ffffff0ff6ffffff0f" + "0001bbe67a020c072ee0938a0cbb",
    "torchac": "1700d7d403b2feffff070400f9ffffff0ff6ffffff0f" + "00010140012d0424be039801fc01f4041bfffff4",
}
"""By coder: the escapes and their length, then the range coder's bytes."""


@pytest.mark.parametrize("coder", CODERS)
def test_stream_of_hand_made_tables(coder):
    writer = Writer(TABLES, coder)
    for symbols, index in GROUPS:
        writer.put(np.array(symbols, np.int32), np.array(index, np.int64))
    data = bytes.fromhex(STREAMS[coder])
    assert writer.finish() == data
    reader = Reader(TABLES, coder, data)
    for symbols, index in GROUPS:
        assert reader.get(np.array(index, np.int64)).tolist() == symbols
    reader.finish()


# --- whole files ----------------------------------------------------------------------------

PAIRS = [
    ("factorized", "constriction"), ("factorized", "torchac"), ("hyperprior", "constriction"),
    ("hyperprior", "torchac"), ("joint", "constriction"), ("checkerboard", "constriction"),
    ("checkerboard", "torchac"), ("space-channel", "constriction"),
]  # fmt: skip
SHAPES = {"z": (16, 2, 2), "y": (12, 6, 7)}
NAMES = ("photo", "outliers")


def versions(model: str) -> tuple[int, ...]:
    """Those of the container that files of a model were ever written in."""
    return (2,) if model == "space-channel" else (1, 2)


FILES = [(model, coder, version) for model, coder in PAIRS for version in versions(model)]


def folder_of(model: str) -> Path:
    return GOLDEN if model == "factorized" else GOLDEN / model


def file_of(model: str, name: str, coder: str, version: int) -> bytes:
    suffix = "" if version == 1 else f"-{version}"
    return (folder_of(model) / f"{name}-{coder}{suffix}.cbk").read_bytes()


def symbols_of(model: str, name: str) -> Symbols:
    files = {"y": f"{name}.csv"} if model == "factorized" else {s: f"{name}-{s}.csv" for s in SHAPES}
    return {
        stream: np.loadtxt(folder_of(model) / file, np.int64, delimiter=",").astype(np.int32).reshape(SHAPES[stream])
        for stream, file in files.items()
    }


@pytest.fixture(scope="module")
def golden() -> dict[str, Codec]:
    return {model: weight_files.read(folder_of(model) / "tiny.safetensors") for model in PRIORS}


@pytest.mark.parametrize("model", PRIORS)
def test_the_golden_weights_have_the_digest_in_the_files(golden, model):
    for version in versions(model):
        assert golden[model].digest[:8] == unpack(file_of(model, "photo", "constriction", version)).weights


def test_both_formats_of_weights_are_among_them(golden):
    kinds = {model: codec.tensors["g_s.mixes.0.near1.weight"].dtype for model, codec in golden.items()}
    assert kinds.pop("factorized") == torch.float16
    assert set(kinds.values()) == {torch.int8}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model, coder", PAIRS)
def test_symbols_are_coded_byte_for_byte(golden, name, model, coder):
    data = golden[model].write_symbols(symbols_of(model, name), 83, 101, coder)
    assert data == file_of(model, name, coder, VERSION)
    if 1 in versions(model):
        assert unpack(data).streams == unpack(file_of(model, name, coder, 1)).streams


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model, coder, version", FILES)
def test_files_decode_to_their_symbols(golden, name, model, coder, version):
    container = unpack(file_of(model, name, coder, version))
    assert (container.version, container.model, container.quality, container.coder) == (version, model, 3000, coder)
    assert (container.height, container.width) == (83, 101)
    symbols, expected = golden[model].read_symbols(container), symbols_of(model, name)
    assert list(symbols) == list(expected)
    for stream in expected:
        np.testing.assert_array_equal(symbols[stream], expected[stream])


@pytest.mark.parametrize("model", PRIORS)
def test_outliers_are_far_out(model):
    values = np.concatenate([v.ravel() for v in symbols_of(model, "outliers").values()])
    assert {-(2**31), -(2**30), -30_000, 30_000, 2**30, 2**31 - 1} <= set(values.tolist())


def test_outliers_lie_beyond_many_tables(golden):
    symbols, tables = symbols_of("factorized", "outliers")["y"], golden["factorized"].tables["y"]
    below = symbols.min((1, 2)) < tables.offsets
    above = symbols.max((1, 2)) >= tables.offsets + tables.widths - 1
    assert below.sum() >= 6
    assert above.sum() >= 6


@pytest.mark.parametrize("model", ["joint", "checkerboard", "space-channel"])
def test_means_and_scales_vary(golden, model):
    """Else these files would say little of the networks that predict them."""
    symbols, seen = symbols_of(model, "photo"), []
    rows = torch.from_numpy(symbols["y"].astype(np.float64)).flatten(1).T

    def code(positions, mean, index):
        seen.append((mean, index))
        return rows[positions]

    golden[model].walk(symbols["z"], 6, 7, code)
    means, tables = (torch.cat([part.flatten() for part in parts]) for parts in zip(*seen, strict=True))
    assert means.std() > 0.5
    assert len(means.unique()) > 300
    assert len(tables.unique()) > 30


@pytest.mark.parametrize("model, coder", PAIRS)
def test_pixels_stay_within_one_grey_level(golden, model, coder):
    """g_s may round otherwise on another machine, but it is the same function."""
    decoded = golden[model].decode(file_of(model, "photo", coder, VERSION)).astype(int)
    expected, _ = images.read_image(folder_of(model) / "photo-decoded.png")
    assert np.abs(decoded - expected).max() <= 1
    assert (decoded == expected).mean() > 0.99


@pytest.mark.parametrize("model", PRIORS)
def test_the_symbols_are_those_of_the_photograph(golden, model):
    """Up to ties that another machine's g_a may break otherwise."""
    pixels, _ = images.read_image(GOLDEN / "photo.png")
    symbols, expected = golden[model].analyse(pixels), symbols_of(model, "photo")
    for stream in expected:
        difference = symbols[stream] - expected[stream]
        assert np.abs(difference).max() <= 1
        assert (difference == 0).mean() > 0.98
