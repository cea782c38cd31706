"""A trained model becomes a codec that is its own, or the weights are refused."""

import copy
import math

import pytest
import torch
from conftest import is_a_sentence

from codec_lib.codecs.freezing import freeze
from codec_lib.errors import BadData


def test_training_on_leaves_the_codec_as_it_was(tiny_models, each_codec, photo):
    model = copy.deepcopy(tiny_models[each_codec.model])
    before = {name: t.clone() for name, t in model.state_dict().items()}
    frozen = freeze(model, "tiny", 0.025)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    data = frozen.encode(photo)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1)
    assert frozen.encode(photo) == data


def test_a_model_in_training_mode_freezes_to_the_same_codec(tiny_models, each_codec):
    model = copy.deepcopy(tiny_models[each_codec.model]).train()
    assert freeze(model, "tiny", 0.025).digest == each_codec.digest


@pytest.mark.parametrize(
    "model, part, value",
    [
        ("factorized", "g_s", math.nan),
        ("factorized", "g_a", 1e6),
        ("factorized", "density_y", math.inf),
        ("hyperprior", "h_a", math.nan),
        ("hyperprior", "density_z", math.nan),
        ("checkerboard", "h_s", math.inf),
        ("joint", "context", -math.inf),
        ("joint", "entropy_parameters", math.nan),
    ],
)
def test_weights_that_cannot_be_stored_are_refused(tiny_models, model, part, value):
    model = copy.deepcopy(tiny_models[model])
    name, parameter = next(iter(getattr(model, part).named_parameters()))
    with torch.no_grad():
        parameter.view(-1)[0] = value
    words = rf"{part}\.{name}(\.scale)? hold numbers that are not finite or too large"
    with pytest.raises(BadData, match=words) as caught:
        freeze(model, "tiny", 0.025)
    assert is_a_sentence(caught.value)


@pytest.mark.parametrize("part", ["h_s", "context", "entropy_parameters"])
def test_weights_too_large_for_exact_coding_are_refused(tiny_models, part):
    model = copy.deepcopy(tiny_models["joint"])
    with torch.no_grad():
        next(getattr(model, part).parameters()).view(-1)[0] = 6e4
    with pytest.raises(BadData, match="too large for exact") as caught:
        freeze(model, "tiny", 0.025)
    assert is_a_sentence(caught.value)
