"""A weight file gives back the codec it was made of, or is refused; each file finds the weights that wrote it."""

import copy
import dataclasses
import json
import math
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import is_a_sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import codec_lib
from codec_lib import datasets, images, metrics, rates, registry
from codec_lib.codecs import freezing, weight_rounding
from codec_lib.codecs.codec import Codec
from codec_lib.codecs.freezing import freeze
from codec_lib.coding.container import pack, unpack
from codec_lib.coding.integer_tables import Tables
from codec_lib.errors import BadData, Unsupported, WrongModel
from codec_lib.evaluation import complexity
from codec_lib.networks import models
from codec_lib.networks.densities import gaussian_tables
from codec_lib.training import initialisation
from codec_lib.weights import weight_files
from codec_lib.weights.cards import read_card_of
from codec_lib.weights.weight_files import load, load_for, path_of, read, save

KERNEL = "h_s.2.weight"


def described(data: bytes) -> dict[str, str]:
    """The metadata of a weight file, without the digest, which files of older versions have not."""
    (length,) = struct.unpack_from("<Q", data)
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    return {name: value for name, value in metadata.items() if name != "digest"}


def rewritten(path, data: bytes, tensors: dict | None = None, metadata: dict | None = None):
    """Write a weight file with other tensors or metadata than it had."""
    tensors = safetensors.torch.load(data) if tensors is None else tensors
    path.write_bytes(safetensors.torch.save(tensors, described(data) if metadata is None else metadata))
    return path


@pytest.fixture(scope="module")
def files(codecs, tmp_path_factory) -> dict[str, bytes]:
    """The weight file of each of `codecs`."""
    folder = tmp_path_factory.mktemp("saved")
    for name, frozen in codecs.items():
        save(frozen, folder / name)
    return {name: (folder / name).read_bytes() for name in codecs}


@pytest.fixture
def saved(files) -> bytes:
    """The weight file of `tiny_codec`."""
    return files["factorized"]


# --- there and back -------------------------------------------------------------------------


def test_a_codec_read_back_is_the_same(pair, photo, tmp_path):
    frozen, coder = pair
    path = tmp_path / "a.safetensors"
    save(frozen, path)
    again = read(path)
    assert again.digest == frozen.digest
    assert (again.model, again.preset, again.lmbda, again.quality) == (frozen.model, "tiny", 0.025, 3)
    for name, tensor in frozen.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor), name
    assert again.encode(photo, coder) == frozen.encode(photo, coder)
    for one, other in zip(again.estimate(photo), frozen.estimate(photo), strict=True):
        np.testing.assert_array_equal(one, other)
    save(again, tmp_path / "b.safetensors")
    one, other = path.read_bytes(), (tmp_path / "b.safetensors").read_bytes()
    assert len(one) == len(other)
    assert described(one) == described(other)  # in any order: safetensors shuffles them


def test_freezing_a_frozen_network_changes_nothing(each_codec):
    again = freeze(copy.deepcopy(each_codec.network), "tiny", 0.025)
    assert again.digest == each_codec.digest
    for name, tensor in each_codec.network.state_dict().items():
        assert torch.equal(again.network.state_dict()[name], tensor), name


@torch.no_grad()
def test_kernels_of_any_size_are_rounded_once():
    """The largest weight of a row is 127 steps, so rounding what is rounded finds the same step."""
    network = nn.Conv2d(1, 20_000, 3)
    generator = torch.Generator().manual_seed(0)
    scales = torch.exp2(torch.empty(20_000, 1, 1, 1).uniform_(-40, 10, generator=generator))
    network.weight.copy_(scales * torch.randn(network.weight.shape, generator=generator))
    network.weight[0] = 0.0
    once = weight_rounding.round_weights(network)
    assert once["weight"].dtype == torch.int8
    again = weight_rounding.round_weights(weight_rounding.restore(nn.Conv2d(1, 20_000, 3), once))
    for name, tensor in once.items():
        assert torch.equal(again[name], tensor), name


def test_every_committed_weight_file_is_read_and_is_what_its_card_says():
    paths = sorted(weight_files.WEIGHTS.glob("*.safetensors"))
    assert {f"{model}-compact" for model in registry.PRIORS} <= {path.stem for path in paths}
    for path in paths:
        frozen, card = weight_files.read(path), read_card_of(path)
        assert path == weight_files.path_of(frozen.model, frozen.preset, frozen.quality)
        assert (card["name"], card["model"], card["preset"]) == (path.stem, frozen.model, frozen.preset)
        if frozen.quality is None:
            low, high = (1, 2) if frozen.preset == "paper" else (0, -1)
            assert tuple(card["lmbdas"]) == (rates.RATE_POINTS[low], rates.RATE_POINTS[high])
        else:
            assert card["bits"] == frozen.quality
        assert card["digest"] == frozen.digest.hex()


def test_all_priors_have_the_same_transforms():
    ours = [weight_files.read(weight_files.path_of(model, "compact", None)) for model in registry.PRIORS]
    first, *others = (weight_files.transforms_in(frozen.tensors) for frozen in ours)
    assert all(weight_files.same_tensors(first, other) for other in others)
    assert sum(path.stat().st_size for path in weight_files.WEIGHTS.glob("*-compact.safetensors")) < 40 * 2**20


@pytest.mark.parametrize(("model", "parameters"), [("factorized", 2_997_571), ("hyperprior", 5_075_459)])
def test_the_papers_networks_code_exactly_at_their_two_rates(model, parameters):
    photo = images.read_image(datasets.find("embedded")[0])[0][:250, :300]
    whole = weight_files.read(weight_files.path_of(model, "paper", None))
    assert weight_files.available(model, preset="paper") == [1, 2]
    for quality in (1, 1.5, 2):
        codec = whole.at(quality)
        assert complexity.parameters(codec.network) == parameters
        pixels, bits = codec.estimate(photo)
        files = {coder: codec.encode(photo, coder) for coder in codec.coders}
        assert all(np.array_equal(codec.decode(data), pixels) for data in files.values())
        assert 8 * len(files["constriction"]) < 1.005 * bits + 8 * 48  # torchac's streams have longer ends


def test_rate_and_quality_rise_with_each_half(photo):
    whole = weight_files.read(weight_files.path_of(registry.DEFAULT_MODEL, "compact", None))
    each = [whole.at(k / 2) for k in range(11)]
    sizes = [len(one.encode(photo)) for one in each]
    assert sizes == sorted(set(sizes))
    errors = [metrics.mse(photo, one.estimate(photo)[0]) for one in each]
    assert errors == sorted(set(errors), reverse=True)


# --- shared transforms ----------------------------------------------------------------------


@pytest.fixture
def sharing(codecs, tiny_models, tmp_path) -> tuple[Path, Codec, Path]:
    """A hyperprior's file, a joint model with its transforms, and that one's file, which names the first."""
    source = codecs["hyperprior"]
    model = copy.deepcopy(tiny_models["joint"])
    initialisation.take_transforms(model, source.network)
    joint = freeze(model, "tiny", 0.025)
    first, second = (weight_files.path_of(name, "tiny", 3, tmp_path) for name in ("hyperprior", "joint"))
    save(source, first)
    assert weight_files.holder_of_transforms(joint, tmp_path) == first.stem
    save(joint, second, first.stem)
    return first, joint, second


def test_transforms_that_another_file_holds_are_not_written_twice(sharing, photo, tmp_path):
    _, joint, second = sharing
    assert not any(name.startswith(("g_a.", "g_s.")) for name in safetensors.torch.load(second.read_bytes()))
    whole = tmp_path / "whole.safetensors"
    save(joint, whole)
    assert second.stat().st_size < 0.8 * whole.stat().st_size
    again = read(second)
    assert again.digest == joint.digest
    assert again.encode(photo) == joint.encode(photo)
    np.testing.assert_array_equal(again.decode(joint.encode(photo)), joint.decode(joint.encode(photo)))


def test_a_file_whose_transforms_are_gone_or_others_is_refused(sharing, codecs):
    first, _, second = sharing
    save(codecs["hyperprior"], first)  # written anew, but the same
    read(second)
    first.unlink()
    with pytest.raises(BadData, match=r"^The weights .*hyperprior-tiny-q3\.safetensors cannot be read"):
        read(second)
    network = copy.deepcopy(codecs["hyperprior"].network)
    network.g_s.mixes[0].linear.bias[0] += 1
    save(freeze(network, "tiny", 0.025), first)
    with pytest.raises(BadData, match=r"^The weights .* need the transforms of hyperprior-tiny-q3 beside them"):
        read(second)


def test_transforms_are_not_left_out_for_others(codecs, tmp_path):
    network = copy.deepcopy(codecs["hyperprior"].network)
    network.g_a.mixes[0].linear.bias[0] += 1
    save(freeze(network, "tiny", 0.025), tmp_path / "hyperprior-tiny-q3.safetensors")
    assert weight_files.holder_of_transforms(codecs["checkerboard"], tmp_path) is None
    save(codecs["joint"], tmp_path / "joint-tiny-q3.safetensors")
    assert weight_files.holder_of_transforms(codecs["joint"], tmp_path) is None  # its own file
    target = tmp_path / "checkerboard-tiny-q3.safetensors"
    with pytest.raises(
        BadData, match=r"^The transforms of checkerboard-tiny-q3 are not those of hyperprior-tiny-q3\.$"
    ):
        save(codecs["checkerboard"], target, "hyperprior-tiny-q3")
    with pytest.raises(BadData, match="cannot be read"):
        save(codecs["checkerboard"], target, "factorized-tiny-q3")
    assert not target.exists()


def test_what_a_mask_hides_is_not_stored(codecs):
    for name in ("joint", "checkerboard"):
        kernel, mask = codecs[name].tensors["context.weight"], codecs[name].network.context.mask
        assert not kernel[:, :, ~mask].any()
        assert kernel[:, :, mask].any()


def as_first_format(frozen: Codec) -> dict[str, torch.Tensor]:
    """What format 1 held: half precision, but for the densities."""
    state = {name: t if name.startswith("density") else t.half() for name, t in frozen.network.state_dict().items()}
    return {name: t.contiguous() for name, t in (state | freezing.table_tensors(frozen.tables)).items()}


def test_the_first_format_gives_its_own_weights_and_files(tiny_codec, saved, photo, tmp_path):
    metadata = described(saved) | {"format": "1"}
    old = read(rewritten(tmp_path / "old.safetensors", saved, as_first_format(tiny_codec), metadata))
    for name, tensor in tiny_codec.network.state_dict().items():
        kept = tensor if name.startswith("density") else tensor.half().float()
        assert torch.equal(old.network.state_dict()[name], kept), name
    assert old.digest != tiny_codec.digest
    decoded = old.decode(old.encode(photo)).astype(int)
    assert np.abs(decoded - tiny_codec.decode(tiny_codec.encode(photo))).mean() < 0.5
    save(old, tmp_path / "again.safetensors")
    again = read(tmp_path / "again.safetensors")
    assert again.digest == old.digest
    assert again.encode(photo) == old.encode(photo)


def test_kernels_are_stored_in_8_bits_the_linear_path_and_the_last_of_a_prior_in_half_precision(files):
    for data in files.values():
        tensors = safetensors.torch.load(data)
        kinds = {torch.int8: 0, torch.float16: 0, torch.float32: 0, torch.int32: 0}
        for name, tensor in tensors.items():
            kinds[tensor.dtype] += tensor.numel()
            if name.startswith("tables."):
                assert tensor.dtype == torch.int32
            elif name.startswith("density") or name.endswith(".scale"):
                assert tensor.dtype == torch.float32
            elif tensor.dim() < 2 or "linear" in name or "entropy_parameters" in name or name.startswith("h_s.4"):
                assert tensor.dtype == torch.float16
            else:
                assert tensor.dtype == torch.int8
                rows = tensor.flatten(1)
                assert tensors[f"{name}.scale"].shape == rows.shape[:1]
                assert tensor.abs().max() <= 127
        assert all(kinds.values())
        assert described(data)["format"] == weight_files.FORMATS[-1] == "2"


def test_a_stored_weight_is_off_by_at_most_half_a_step(each_codec, tiny_models):
    model = tiny_models[each_codec.model]
    for name, tensor in each_codec.network.state_dict().items():
        exact = model.state_dict()[name]
        *place, last = name.split(".")
        layer = model.get_submodule(".".join(place))
        if last == "weight" and hasattr(layer, "mask"):
            exact = exact * layer.mask
        error = (tensor - exact).abs()
        if f"{name}.scale" in each_codec.tensors:
            steps = exact.flatten(1).abs().amax(1) / 127
            assert (error.flatten(1) <= 0.501 * steps[:, None]).all(), name
        else:
            assert (error <= 2**-11 * exact.abs() + 2**-25).all(), name


@pytest.mark.parametrize("name", ["hyperprior", "joint", "checkerboard"])
def test_conditional_models_store_the_gaussian_tables(files, name):
    tensors, ours = safetensors.torch.load(files[name]), gaussian_tables()
    for part in ("widths", "offsets", "frequencies"):
        np.testing.assert_array_equal(tensors[f"tables.y.{part}"], getattr(ours, part))


def nudged(tables: Tables) -> Tables:
    """Tables that differ in the first frequency of one that can spare it."""
    frequencies = tables.frequencies.copy()
    most = int(frequencies.argmax())
    frequencies[most] -= 1
    frequencies[most + 1 if most + 1 not in tables.starts else most - 1] += 1
    return Tables(tables.widths, tables.offsets, frequencies)


def test_a_decoder_uses_the_stored_tables(each_codec, files, photo, tmp_path):
    """Another machine's exp() must not matter: this file's tables are not those of its densities."""
    tables = {stream: nudged(t) for stream, t in each_codec.tables.items()}
    data = files[each_codec.model]
    tensors = safetensors.torch.load(data) | freezing.table_tensors(tables)
    moved = read(rewritten(tmp_path / "a.safetensors", data, tensors))
    for stream, expected in tables.items():
        np.testing.assert_array_equal(moved.tables[stream].frequencies, expected.frequencies)
    assert moved.digest != each_codec.digest
    container = unpack(moved.encode(photo))
    for stream, values in moved.read_symbols(container).items():
        np.testing.assert_array_equal(values, each_codec.analyse(photo)[stream])


def test_everything_that_matters_moves_the_digest(tiny_models, each_codec):
    model = tiny_models[each_codec.model]
    digests = [each_codec.digest, freeze(model, "tiny", 0.0251).digest, freeze(model, "tiny2", 0.025).digest]
    parts = {name.split(".")[0] for name, _ in model.named_parameters()}
    for part in sorted(parts):
        changed = copy.deepcopy(model)
        with torch.no_grad():
            list(getattr(changed, part).parameters())[-1].view(-1)[-1].mul_(1.01).add_(0.01)
        digests.append(freeze(changed, "tiny", 0.025).digest)
    for stream, t in each_codec.tables.items():
        shifted = Tables(t.widths, t.offsets + np.int32(1), t.frequencies)
        for other in (shifted, nudged(t)):
            tables = each_codec.tables | {stream: other}
            network = copy.deepcopy(each_codec.network)
            digests.append(freezing.assemble(network, each_codec.tensors, tables, "tiny", 0.025).digest)
    if each_codec.model != "factorized":
        changed = copy.deepcopy(model)
        changed.inv_scale.mul_(1.01)
        digests.append(freeze(changed, "tiny", 0.025).digest)
    assert len(set(digests)) == len(digests) >= 8


# --- damaged and foreign files --------------------------------------------------------------


def test_altered_weights_are_named_by_their_own_digest_or_by_that_on_their_card(saved, tmp_path):
    tensors = safetensors.torch.load(saved)
    kernels = ((n, t) for n, t in tensors.items() if t.dtype == torch.int8)  # in an order of chance; some are zero
    name, tensor = next((n, t) for n, t in kernels if not torch.equal(t, t.flip(0)))
    altered = tensors | {name: tensor.flip(0)}
    path = tmp_path / "a.safetensors"
    path.write_bytes(saved)
    digest = read(path).digest.hex()
    path.write_bytes(safetensors.torch.save(altered, described(saved) | {"digest": digest}))
    with pytest.raises(BadData, match=f"have been altered: their digest is [0-9a-f]{{16}}, not {digest[:16]}"):
        read(path)
    rewritten(path, saved, altered)  # as older versions wrote it
    assert read(path).digest.hex() != digest
    path.with_suffix(".json").write_text(json.dumps({"digest": digest}))
    with pytest.raises(BadData, match="have been altered") as caught:
        read(path)
    assert is_a_sentence(caught.value)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "..", "a\0b"])
def test_transforms_are_looked_for_beside_the_weights_only(saved, tmp_path, name):
    metadata = described(saved) | {"transforms": f"{name} 00"}
    with pytest.raises(BadData) as caught:
        read(rewritten(tmp_path / "a.safetensors", saved, metadata=metadata))
    assert is_a_sentence(caught.value)


def test_weights_cut_off_are_refused(saved, tmp_path):
    path = tmp_path / "a.safetensors"
    for length in [*range(0, 40, 7), 1000, 5000, len(saved) // 2, len(saved) - 1]:
        path.write_bytes(saved[:length])
        with pytest.raises(BadData, match=re.escape(f"The weights {path} cannot be read")) as caught:
            read(path)
        assert is_a_sentence(caught.value)


@pytest.mark.parametrize("name", registry.PRIORS)
@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=10)
def test_a_flipped_bit_in_weights_is_refused_or_changes_nothing(codecs, files, tmp_path_factory, name, seed, in_header):
    rng, data = np.random.default_rng(seed), files[name]
    (length,) = struct.unpack_from("<Q", data)
    flipped = bytearray(data)
    flipped[rng.integers(0, 8 + length) if in_header else rng.integers(8 + length, len(data))] ^= 1 << rng.integers(8)
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(flipped)
    try:
        assert read(path).digest == codecs[name].digest  # a bit of the metadata's names
    except BadData as error:
        assert is_a_sentence(error)


@pytest.mark.parametrize("content", [b"", b"{}", b"\x89PNG\r\n\x1a\n" + bytes(500), b"\xff" * 500])
def test_files_that_are_no_weights_are_refused(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(BadData):
        read(tmp_path / "a.safetensors")


def test_weights_that_are_not_there_are_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none.safetensors", tmp_path / "none" / "a.safetensors"):
        with pytest.raises(BadData) as caught:
            read(path)
        assert is_a_sentence(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "hyperprior"},
        {"model": None},
        {"preset": "giant"},
        {"preset": "paper"},
        {"format": "3"},
        {"format": None},
        {"lmbda": "nan"},
        {"lmbda": "inf"},
        {"lmbda": "0"},
        {"lmbda": "-0.025"},
        {"lmbda": "much"},
    ],
    ids=str,
)
def test_weights_of_something_else_are_refused(saved, tmp_path, changes):
    metadata = {name: value for name, value in (described(saved) | changes).items() if value is not None}
    path = rewritten(tmp_path / "a.safetensors", saved, metadata=metadata)
    with pytest.raises(BadData, match="not those of a codec of this version"):
        read(path)


@pytest.mark.parametrize("name, other", [("hyperprior", "joint"), ("joint", "hyperprior"), ("joint", "factorized")])
def test_weights_of_one_model_are_not_read_as_another(files, tmp_path, name, other):
    metadata = described(files[name]) | {"model": other}
    with pytest.raises(BadData, match="not those of a codec of this version"):
        read(rewritten(tmp_path / "a.safetensors", files[name], metadata=metadata))


def without(tensors, name):
    return {k: v for k, v in tensors.items() if k != name}


ONE_TABLE = {
    "widths": torch.tensor([2], dtype=torch.int32),
    "offsets": torch.tensor([0], dtype=torch.int32),
    "frequencies": torch.tensor([1, 65535], dtype=torch.int32),
}


def one_table(stream: str) -> dict[str, torch.Tensor]:
    return {f"tables.{stream}.{part}": values for part, values in ONE_TABLE.items()}


@pytest.mark.parametrize(
    "change",
    {
        "a weight is missing": lambda t: without(t, "g_s.mixes.2.linear.bias"),
        "a kernel is missing": lambda t: without(t, KERNEL),
        "a scale is missing": lambda t: without(t, f"{KERNEL}.scale"),
        "scales of another number": lambda t: t | {f"{KERNEL}.scale": torch.ones(3)},
        "a weight too many": lambda t: t | {"g_x": torch.zeros(1)},
        "a weight of another shape": lambda t: t | {"g_s.mixes.2.linear.bias": torch.zeros(7)},
        "a table is missing": lambda t: without(t, "tables.y.offsets"),
        "a table of z is missing": lambda t: without(t, "tables.z.widths"),
        "frequencies that do not add up": lambda t: t | {"tables.y.frequencies": t["tables.y.frequencies"] + 1},
        "floating tables": lambda t: t | {"tables.y.widths": t["tables.y.widths"].float()},
        "a single table": lambda t: t | one_table("y"),
        "a single table of z": lambda t: t | one_table("z"),
        "a weight that is not a number": lambda t: t | {"g_s.mixes.2.linear.bias": torch.full((48,), math.nan)},
        "an endless scale": lambda t: t | {f"{KERNEL}.scale": t[f"{KERNEL}.scale"] * math.inf},
        "weights too large for exact coding": lambda t: t | {f"{KERNEL}.scale": t[f"{KERNEL}.scale"] * 1e9},
    }.items(),
    ids=lambda item: item[0],
)  # fmt: skip
def test_unsound_weights_are_refused(files, tmp_path, change):
    data = files["checkerboard"]
    path = rewritten(tmp_path / "a.safetensors", data, change[1](safetensors.torch.load(data)))
    with pytest.raises(BadData) as caught:
        read(path)
    assert is_a_sentence(caught.value)


def test_saving_replaces_a_file_whole_or_not_at_all(tiny_codec, tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(BadData, match="No space left"):
            save(tiny_codec, path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    assert path.read_bytes() == b"old"
    save(tiny_codec, path)
    assert read(path).digest == tiny_codec.digest
    with pytest.raises(BadData, match="does not exist"):
        save(tiny_codec, tmp_path / "none" / "a.safetensors")


# --- choosing weights -----------------------------------------------------------------------


def test_load_finds_weights_by_model_and_quality(weights, tiny_codecs, codecs):
    for quality, expected in enumerate(tiny_codecs, start=1):
        for preset in (None, "tiny"):
            assert load("factorized", quality, preset, weights).digest == expected.digest
    for name, expected in codecs.items():
        assert load(name, 3, folder=weights).digest == expected.digest
    assert codec_lib.load is load


@pytest.mark.parametrize(
    "arguments, kind, words",
    [
        (("factorised", 1), Unsupported, "There is no model 'factorised'; choose from factorized, hyperprior, joint"),
        (("factorized", -0.1), Unsupported, "There is no quality -0.1; choose from 0 to 5."),
        (("factorized", 9), Unsupported, "There is no quality 9; choose from 0 to 5."),
        (("factorized", "2"), Unsupported, "There is no quality '2'; choose a number from 0 to 5."),
        (("factorized", None), Unsupported, "There is no quality None; choose a number from 0 to 5."),
        (("factorized", 2, "giant"), Unsupported, "There is no preset 'giant'; choose from compact, tiny, paper."),
        (
            ("factorized", 2, "paper"),
            BadData,
            "There are no weights for factorized at quality 2 in the preset paper",
        ),
        (("joint", 2), BadData, "There are no weights for joint at quality 2 in"),
    ],
)
def test_load_refuses_what_does_not_exist(weights, arguments, kind, words):
    with pytest.raises(kind, match=re.escape(words)) as caught:
        load(*arguments, folder=weights)
    assert is_a_sentence(caught.value)


def test_load_says_which_weights_there_are(weights, tmp_path):
    with pytest.raises(BadData, match=r"there are: .*factorized-tiny-q1, .*-q4, .*joint-tiny-q1, joint-tiny-q3, .*\.$"):
        load("factorized", 2, "compact", weights)
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(BadData, match=r"in .*; there are: none\.$"):
            load("factorized", 2, folder=folder)


@pytest.mark.parametrize("name, quality", [("factorized", 2), ("hyperprior", 1)])
def test_load_refuses_weights_under_another_name(tiny_codecs, tmp_path, name, quality):
    save(tiny_codecs[0], path_of(name, "tiny", quality, tmp_path))
    with pytest.raises(BadData, match="but factorized in the preset tiny at quality 1") as caught:
        load(name, quality, folder=tmp_path)
    assert is_a_sentence(caught.value)


def test_a_file_finds_the_weights_that_wrote_it(weights, tiny_codecs, codecs, photo):
    for expected in [*tiny_codecs, *codecs.values()]:
        assert load_for(unpack(expected.encode(photo)), weights).digest == expected.digest


@pytest.fixture
def two_presets(tiny_codecs, monkeypatch, tmp_path) -> list[Codec]:
    """Two codecs of quality 1 that differ in preset and weights (both of the tiny size), saved in `tmp_path`."""
    sizes = models.preset("tiny", 0.01)
    monkeypatch.setattr(models, "preset", lambda *_: sizes)
    other = copy.deepcopy(tiny_codecs[0].network)
    other.g_s.mixes[2].linear.bias.add_(0.1)
    codecs = [freeze(other, "compact", rates.LMBDAS[0]), tiny_codecs[0]]
    for c in codecs:
        save(c, path_of("factorized", c.preset, 1, tmp_path))
    return codecs


def test_the_digest_tells_between_presets(two_presets, tmp_path, photo):
    for expected in two_presets:
        assert load_for(unpack(expected.encode(photo)), tmp_path).digest == expected.digest
    assert load("factorized", 1, folder=tmp_path).digest == two_presets[0].digest  # the first of the presets
    assert load("factorized", 1, "tiny", tmp_path).digest == two_presets[1].digest


def test_files_of_weights_not_at_hand_are_refused(weights, codecs, each_codec, tiny_models, photo, tmp_path):
    stranger = freeze(tiny_models[each_codec.model], "tiny", 0.026)
    container = unpack(stranger.encode(photo))
    assert container.quality == 3000
    with pytest.raises(WrongModel, match=stranger.digest[:8].hex()) as caught:
        load_for(container, weights)
    assert is_a_sentence(caught.value)
    with pytest.raises(BadData, match=f"There are no weights for {each_codec.model} at quality 3"):
        load_for(container, tmp_path)
    with pytest.raises(WrongModel) as caught:
        each_codec.decode(stranger.encode(photo))
    assert stranger.digest[:8].hex() in str(caught.value)
    assert each_codec.digest[:8].hex() in str(caught.value)


def test_a_quality_between_those_of_the_weights_is_refused(weights, tiny_codec, photo):
    container = dataclasses.replace(unpack(tiny_codec.encode(photo)), quality=2400)
    with pytest.raises(BadData, match=r"no weights for factorized at quality 2\.4") as caught:
        load_for(container, weights)
    assert is_a_sentence(caught.value)


@pytest.mark.parametrize("quality", [9000])
def test_files_of_qualities_that_do_not_exist_are_refused(weights, tiny_codec, photo, quality):
    container = dataclasses.replace(unpack(tiny_codec.encode(photo)), quality=quality)
    with pytest.raises(Unsupported, match="There is no quality 9; choose from") as caught:
        load_for(unpack(pack(container)), weights)
    assert is_a_sentence(caught.value)


def test_transforms_that_differ_in_the_sign_of_a_zero_are_not_shared(tiny_models, tmp_path):
    """They compare equal, but their checksums do not, and a file that is written must be readable."""
    network = copy.deepcopy(tiny_models["joint"])
    frozen = freeze(network, "tiny", 0.025)
    parameters = dict(network.named_parameters())
    name = next(
        n for n, t in frozen.tensors.items() if n.startswith("g_a.") and t.dtype == torch.float16 and n in parameters
    )
    signed = {n: t.clone() for n, t in frozen.tensors.items()}
    signed[name].view(-1)[0] = -0.0
    plain = {n: t.clone() for n, t in signed.items()}
    plain[name].view(-1)[0] = 0.0
    assert signed[name].equal(plain[name])
    assert not weight_files.same_tensors(signed, plain)
    with torch.no_grad():
        parameters[name].view(-1)[0] = -0.0
    assert not torch.signbit(freeze(network, "tiny", 0.025).tensors[name].view(-1)[0])


@torch.no_grad()
def test_rounding_leaves_scales_where_they_were_though_their_inputs_lie_far_from_zero(tiny_models):
    """A compact prior's hidden units carry large constants: an error of a row of weights becomes an offset."""
    model = copy.deepcopy(tiny_models["joint"]).eval()
    last = model.entropy_parameters[-1]
    torch.manual_seed(0)
    torch.nn.init.normal_(last.weight, std=0.3)
    hidden = 20 + torch.randn(64, last.in_channels, 1, 1)
    rounded = weight_rounding.restore(
        models.make("joint", "tiny", 0.025), weight_rounding.round_weights(model)
    ).entropy_parameters[-1]
    assert (rounded(hidden) - last(hidden)).abs().max() < 0.03
