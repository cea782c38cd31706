"""What notebook 06 measures of slices is what it is called."""

import copy

import numpy as np
import pytest
import torch

from codec_lib.evaluation import slices
from codec_lib.evaluation.explorer import Scene
from codec_lib.evaluation.inspection import inspect


@pytest.fixture(scope="module")
def seen(codecs, photo):
    return {name: inspect(codecs[name], photo) for name in ("space-channel", "hyperprior")}


def test_each_symbols_time_is_the_group_in_which_the_walk_comes_to_it(each_codec, photo):
    latent = Scene(each_codec, photo[:80]).latent
    np.testing.assert_array_equal(each_codec.network.times(*latent.symbols.shape[1:]), latent.groups)


def test_the_number_of_groups_does_not_depend_on_the_size(codecs):
    network = codecs["space-channel"].network
    counts = {len(network.times(h, w).unique()) for h, w in ((2, 3), (32, 48), (128, 128))}
    assert counts == {2 * len(network.slices)}


def test_a_constant_has_no_energy_whatever_its_level(seen):
    first = seen["hyperprior"]
    flat = first._replace(y=np.full_like(first.y, 7.0))
    assert slices.energy([flat]).tolist() == [0] * len(first.y)
    np.testing.assert_allclose(slices.energy([first, flat]), first.y.var((1, 2)) / 2)


def test_passes_have_all_bits_and_symbols_once(codecs, seen):
    network = codecs["space-channel"].network
    own, other = seen["space-channel"], seen["hyperprior"]
    rows = slices.by_pass(network, [own, own], [other, other])
    assert [(row["slice"], row["pass"]) for row in rows] == [
        (k, p) for k in range(1, len(network.slices) + 1) for p in ("anchors", "others")
    ]
    assert sum(row["channels"] for row in rows) == 2 * len(own.y)
    assert sum(row["symbols [%]"] for row in rows) == pytest.approx(100)
    assert sum(row["bits"] for row in rows) == pytest.approx(2 * own.bits.sum())
    assert sum(row["bits of the other"] for row in rows) == pytest.approx(2 * other.bits.sum())
    times = network.times(*own.y.shape[1:]).numpy()
    assert rows[3]["bits"] == pytest.approx(2 * own.bits[times == 3].sum())
    assert rows[3]["saved [%]"] == pytest.approx(100 * (1 - own.bits[times == 3].sum() / other.bits[times == 3].sum()))


def test_blocks_are_summed_and_a_rest_is_left_out():
    assert slices.in_blocks(np.arange(15).reshape(3, 5)).tolist() == [[0 + 1 + 5 + 6, 2 + 3 + 7 + 8]]


def test_a_prior_that_is_shown_all_estimates_what_it_writes(codecs, seen):
    own, network = seen["space-channel"], codecs["space-channel"].network
    everything = slices.bits_with(network, own)
    assert everything.sum() == pytest.approx(own.bits.sum(), rel=0.01)


@torch.no_grad()
def test_what_is_hidden_changes_what_sees_it_alone(codecs, seen):
    own, network = seen["space-channel"], copy.deepcopy(codecs["space-channel"].network)
    for part in network.slices:  # a fresh prior looks at nothing
        part.layers[-1].weight.fill_(0.05)
    everything = slices.bits_with(network, own)
    first = network.slices[0].channels
    changed = slices.bits_with(network, own, earlier=False) != everything
    assert not changed[first].any() and changed[first.stop :].any()
    changed = slices.bits_with(network, own, around=False) != everything
    late = network.order.times(*own.y.shape[1:]) == 1
    assert not changed[:, ~late].any() and changed[:, late].any()
