"""The weights that are still in training are files like the others, of every rate."""

import json

import pytest

from codec_lib.coding.container import unpack
from codec_lib.places import ROOT
from codec_lib.weights import weight_files

FOLDER = ROOT / "data" / "in_training"
NAMES = ("hyperprior", "space-channel")


@pytest.mark.parametrize("name", NAMES)
def test_they_code_at_any_quality(name, photo):
    codec = weight_files.load(name, 2.4, folder=FOLDER)
    data = codec.encode(photo)
    pixels, bits = codec.estimate(photo)
    assert 0.97 < 8 * sum(map(len, unpack(data).streams)) / bits < 1.01
    assert (weight_files.load_for(unpack(data), FOLDER).decode(data) == pixels).all()


@pytest.mark.parametrize("name", NAMES)
def test_their_cards_are_theirs(name):
    path = weight_files.path_of(name, "compact", None, FOLDER)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["digest"] == weight_files.read(path).digest.hex()
    assert card["lmbdas"] == [0.0035, 0.093]


def test_rate_and_quality_rise_with_each_quarter(photo):
    codecs = [weight_files.load("space-channel", k / 4, folder=FOLDER) for k in range(0, 21, 2)]
    sizes = [len(codec.encode(photo)) for codec in codecs]
    assert sizes == sorted(sizes)
