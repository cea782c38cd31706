"""The promise: a file decodes to the same symbols, whatever computes the floats around it."""

import dataclasses
import itertools
import math
from functools import cache

import check_portability
import numpy as np
import pytest
import torch
from check_portability import SETTINGS, Job, Setting, in_layout, onednn
from conftest import PAIRS
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from codec_lib import images, registry
from codec_lib.codecs.codec import Codec, Symbols
from codec_lib.codecs.freezing import freeze
from codec_lib.coding import integer_networks
from codec_lib.coding.container import unpack
from codec_lib.networks import models
from codec_lib.networks.layers import MaskedConv2d
from codec_lib.weights import weight_files

# --- a thousand cases within a process ------------------------------------------------------

SEEDS = 8  # random codecs of each model


@cache
def random_codecs(name: str, seed: int) -> tuple[Codec, Codec]:
    """A codec of random weights, whose means and scales go wide; the same with its matrices turned in memory."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = models.make(name, "tiny", 0.025)
        density = model.density_y if name == "factorized" else model.density_z
        density.initialise(torch.exp2(torch.empty(density.channels).uniform_(-3, 7)))
        model.g_a.mixes[0].linear.weight.mul_(2.0 ** (seed + 2))
        if name != "factorized":
            size = 2.0 ** (seed / 2 - 1)
            for layer in [*model.h_s, *getattr(model, "entropy_parameters", [])]:
                if hasattr(layer, "weight"):
                    layer.weight.normal_(0, size / math.sqrt(layer.weight[0].numel()))
                    layer.bias.uniform_(-1, 1)
            for context in (m for m in model.modules() if isinstance(m, MaskedConv2d)):
                context.weight.normal_(0, size / math.sqrt(context.weight[0].numel()))
            model.fix_scales(torch.empty(model.size.M).uniform_(-4, 8))
    frozen = freeze(model.eval(), "tiny", 0.025)
    return frozen, in_layout(frozen, "contiguous")


def random_symbols(frozen: Codec, height: int, width: int, rng: np.random.Generator) -> Symbols:
    """Of all sizes, each channel its own, now and then far out."""
    h, w = -(-height // 16), -(-width // 16)
    shapes = {"z": (16, -(-h // 4), -(-w // 4)), "y": (12, h, w)}
    symbols = {}
    for stream in frozen.tables:
        shape = shapes[stream]
        spread = np.exp2(rng.uniform(-3, 8 if stream == "y" else 4, (shape[0], 1, 1)))
        values = np.round(rng.normal(size=shape) * spread)
        far = rng.random(shape) < rng.choice([0, 0.02])
        values[far] = rng.choice([-(2**31), 2**31 - 1, 2**16, -(2**16) - 1, 30_000, -3_000], far.sum())
        symbols[stream] = values.astype(np.int32)
    return symbols


def random_picture(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A smooth picture with noise."""
    coarse = Image.fromarray(rng.integers(0, 256, (3, 3, 3), np.uint8)).resize((width, height))
    noise = rng.normal(0, rng.choice([1, 10, 60]), (height, width, 3))
    return np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)


sides = st.integers(1, 90) | st.integers(1, 255)


@pytest.mark.parametrize("name", registry.PRIORS)
@given(sides | st.just(257), sides, st.integers(0, SEEDS - 1), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=100)
def test_whatever_is_written_is_read(name, height, width, seed, case, picture):
    """Read with another memory layout and without oneDNN, so that sums are made in another order."""
    writer, reader = random_codecs(name, seed)
    rng = np.random.default_rng(case)
    coder = str(rng.choice([coder for model, coder in PAIRS if model == name]))
    if picture:
        pixels = random_picture(height, width, rng)
        symbols, data = writer.analyse(pixels), writer.encode(pixels, coder)
    else:
        symbols = random_symbols(writer, height, width, rng)
        data = writer.write_symbols(symbols, height, width, coder)
    with onednn(False):
        found = reader.read_symbols(unpack(data))
    assert list(found) == list(symbols)
    for stream, values in symbols.items():
        np.testing.assert_array_equal(found[stream], values)


@pytest.mark.parametrize("name", ["hyperprior", "joint", "checkerboard"])
def test_the_random_codecs_go_wide(name):
    """In means and scales; otherwise the test above would say little."""
    means, tables = [], []
    for seed in range(SEEDS):
        frozen = random_codecs(name, seed)[0]
        symbols = random_symbols(frozen, 100, 120, np.random.default_rng(seed))
        rows = torch.from_numpy(symbols["y"].astype(np.float64)).flatten(1).T

        def code(positions, mean, index, rows=rows):
            means.append(mean.flatten())
            tables.append(index.flatten())
            return rows[positions]

        frozen.walk(symbols["z"], *symbols["y"].shape[1:], code)
    assert len(torch.cat(tables).unique()) > 120
    if name != "hyperprior":
        means = torch.cat(means)
        assert (means.abs() > 1).float().mean() > 0.2
        assert means.abs().max() > 1000
        assert len(means.unique()) > 2000


@pytest.mark.parametrize("name", ["hyperprior", "joint", "checkerboard"])
def test_all_that_is_summed_is_integers(name):
    """In units of 2^-14. A float64 that is none hardly ever shows: it takes a sum that rounds otherwise at a step."""
    prior = random_codecs(name, SEEDS - 1)[0].prior
    parts = [part for value in vars(prior).values() for part in (value if isinstance(value, list) else [value])]
    parts = [part.taps if isinstance(part, integer_networks.Convolution) else part for part in parts]
    weights = [getattr(part, "weights", None) or [part.weight] for part in parts if hasattr(part, "bias")]
    tensors = [*itertools.chain(*weights), *(part.bias for part in parts if hasattr(part, "bias"))]
    assert len(tensors) >= 6
    for tensor in tensors:
        assert tensor.dtype == torch.float64
        units = tensor * 2**integer_networks.WEIGHT_BITS
        assert torch.equal(units, units.round())


# --- another process ------------------------------------------------------------------------

WRITER = Setting(1, "this", True, "channels_last")
READERS = [s for s in SETTINGS if (s.threads, s.processor) == (2, "oldest")]


def read_elsewhere(jobs: list[Job], readers: list[Setting]) -> list[dict]:
    """Write each job's file in this process and read it in one other, on the oldest processor with two threads."""
    check_portability.work("encode", [(dataclasses.asdict(job), dataclasses.asdict(WRITER)) for job in jobs])
    return check_portability.start(2, "oldest", "decode", [(job, setting) for job in jobs for setting in readers])


def assert_no_mismatch(rows: list[dict], jobs: int, readers: list[Setting]) -> None:
    assert len(rows) == jobs * len(readers)
    processes = {(row["torch_threads"], "oldest" if row["capability"] == "DEFAULT" else "this") for row in rows}
    assert processes == {(setting.threads, setting.processor) for setting in readers}
    assert [row for row in rows if row["mismatches"] or row["error"]] == []
    assert all(row["symbols"] > 100 for row in rows)


def floats_differ(rows: list[dict]) -> bool:
    """Whether the settings are any different: for some file, h_s in float32 is not the same under all."""
    return any(len({row["floats"] for row in rows if row["file"] == file}) > 1 for file in {r["file"] for r in rows})


def test_another_process_reads_the_same_symbols(weights, photo, tmp_path):
    Image.fromarray(photo[:83, :101]).save(tmp_path / "photo.png")
    paths = {name: weight_files.path_of(name, "tiny", 3, weights) for name in registry.PRIORS}
    jobs = [Job(str(paths[m]), str(tmp_path / "photo.png"), str(tmp_path / f"{m}-{c}.cbk"), c) for m, c in PAIRS]
    rows = read_elsewhere(jobs, READERS)
    assert_no_mismatch(rows, len(PAIRS), READERS)
    assert floats_differ(rows)


def test_another_process_reads_the_same_symbols_of_kodak(kodak, tmp_path):
    """With the committed weights, at a quality between the rate points."""
    pixels = images.read_image(kodak[22])[0][:192, 200:456]
    Image.fromarray(pixels).save(tmp_path / "kodak.png")
    jobs = []
    for name in registry.PRIORS:
        path = weight_files.path_of(name, "compact", None)
        jobs.append(Job(str(path), str(tmp_path / "kodak.png"), str(tmp_path / f"{name}.cbk"), quality=3.7))
    readers = [s for s in READERS if s.layout == "contiguous"]
    rows = read_elsewhere(jobs, readers)
    assert_no_mismatch(rows, len(jobs), readers)
    assert floats_differ(rows)


def test_a_mismatch_would_be_counted(codecs, photo, tmp_path):
    """The check itself: symbols that differ, and files that are refused, are told."""
    job = {"weights": "", "picture": str(tmp_path / "a.png"), "file": str(tmp_path / "a.cbk"), "coder": "constriction"}
    Image.fromarray(photo).save(job["picture"])
    frozen = codecs["checkerboard"]
    check_portability.encode(frozen, job)
    sound = check_portability.decode(frozen, job)
    assert (sound["mismatches"], sound["error"]) == (0, "")
    with np.load(f"{job['file']}.npz") as saved:
        symbols = dict(saved)
    symbols["z"][0, 0, 0] += 1
    symbols["y"][3, 2, :2] -= 1
    np.savez(f"{job['file']}.npz", **symbols)
    assert check_portability.decode(frozen, job)["mismatches"] == 3
    damaged = bytearray((tmp_path / "a.cbk").read_bytes())
    damaged[60] ^= 1
    (tmp_path / "a.cbk").write_bytes(damaged)
    refused = check_portability.decode(frozen, job)
    assert refused["mismatches"] == refused["symbols"] == 12 * 6 * 7 + 16 * 2 * 2
    assert refused["error"]
