"""One network for every rate: a quality between the rate points is as good as one at them."""

import numpy as np
import pytest
import torch
from conftest import with_random_gains
from safetensors import safe_open

from codec_lib import images, registry, tables
from codec_lib.codecs import gained
from codec_lib.coding.container import unpack
from codec_lib.commands.parser import main
from codec_lib.errors import BadData, Unsupported
from codec_lib.networks import models
from codec_lib.networks.gains import STEP, Gained, _power
from codec_lib.rates import LMBDAS, RATE_POINTS, lmbda_of
from codec_lib.training import initialisation
from codec_lib.weights import targets, weight_files

QUALITIES = (0, 2.4, 5)


def untrained(name: str, crops) -> Gained:
    """A tiny model with gains."""
    torch.manual_seed(1)
    model = models.make(name, "tiny", 0.025)
    initialisation.initialise(model, crops, 0.025)
    return with_random_gains(model, 0.025)


@pytest.fixture(scope="module", params=registry.PRIORS)
def both(request, crops):
    """A model in training form and frozen."""
    whole = untrained(request.param, crops)
    return whole, gained.freeze(whole, "tiny")


@pytest.fixture(scope="module")
def narrow(crops):
    """A model in training form, and frozen for the qualities 1 to 2."""
    whole = untrained("hyperprior", crops)
    return whole, gained.freeze(whole, "tiny", (0.0067, 0.013))


def test_transforms_without_residual_blocks_have_gains_alone(monkeypatch, crops):
    size = models.Preset("paper", 8, 12)
    monkeypatch.setattr(models, "preset", lambda *_: size)
    torch.manual_seed(0)
    whole = Gained(models.make("hyperprior", "paper", 0.025), 0.025)
    with torch.no_grad():
        whole.model.g_a.rescale(100.0)
        whole.gains.gain.add_(0.3 * torch.randn_like(whole.gains.gain))
    assert not list(whole.gains.shifts_a)
    one = gained.freeze(whole, "paper").network.at(2400)
    x = crops[:2]
    rate = whole.gains(torch.full((2,), 2.4))
    with torch.no_grad():
        y = whole.analyse(x, rate) * rate.gain
        assert torch.allclose(one.g_a(x), y, rtol=2e-2, atol=2e-2 * y.abs().max().item())
        x_hat = whole.synthesise(y * rate.inverse, rate)
        assert torch.allclose(one.g_s(y), x_hat, atol=2e-2 * x_hat.abs().max().item())


def test_lmbda_is_geometric_between_the_rate_points():
    assert [lmbda_of(quality) for quality in range(6)] == pytest.approx(RATE_POINTS, rel=1e-12)
    assert RATE_POINTS[1:5] == LMBDAS
    assert lmbda_of(2.5) == pytest.approx((LMBDAS[1] * LMBDAS[2]) ** 0.5)


@pytest.mark.parametrize("steps", [0, 1, -STEP, 12345, -54321])
def test_powers_are_rounded_correctly(steps):
    assert _power(steps) == pytest.approx(2 ** (steps / STEP), rel=1e-15)


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_model_of_one_rate_does_what_the_training_form_does(both, crops, quality):
    whole = both[0]
    one = whole.at(round(1000 * quality))
    rate = whole.gains(torch.full((len(crops),), float(quality)))
    with torch.no_grad():
        y = one.g_a(crops)
        assert torch.allclose(y, whole.model.g_a(crops, rate.shifts_a) * rate.gain, rtol=1e-2, atol=1e-2)
        y_hat = torch.round(y)
        x_hat = whole.model.g_s(y_hat * rate.inverse, rate.shifts_s)
        assert torch.allclose(one.g_s(y_hat), x_hat, atol=1e-3)
        costs = []
        for model, *rates in ((one, ()), (whole.model, rate)):
            torch.manual_seed(2)
            costs.append(model.train().code(y, *filter(None, rates))[1])
    for stream, bits in costs[0].items():
        assert torch.allclose(bits, costs[1][stream], rtol=1e-2)


@pytest.mark.parametrize("quality", QUALITIES)
def test_files_of_any_quality_decode_to_what_was_encoded(both, photo, quality):
    codec = both[1].at(quality)
    data = codec.encode(photo)
    assert unpack(data).quality == 1000 * quality
    pixels, bits = codec.estimate(photo)
    assert (codec.decode(data) == pixels).all()
    assert 0.95 < 8 * sum(map(len, unpack(data).streams)) / bits < 1.1
    with pytest.raises(Unsupported, match="has quality"):
        both[1].at(4).decode(data)


def test_a_higher_quality_costs_more_and_is_better(both, photo):
    sizes, errors = [], []
    for quality in (0, 1.5, 2.25, 3.5, 5):
        codec = both[1].at(quality)
        data = codec.encode(photo)
        sizes.append(len(data))
        errors.append(np.square(codec.decode(data).astype(float) - photo).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)


def test_a_model_for_every_rate_is_shown_in_a_line(both):
    assert repr(both[1]) == f"<GainedCodec {both[1].model}, preset tiny, qualities 0 to 5>" and {both[1]: 1}


@pytest.mark.parametrize("quality", [-0.1, 5.1, float("nan")])
def test_qualities_that_are_not_there_are_refused(both, quality):
    with pytest.raises(Unsupported, match="0 to 5"):
        both[1].at(quality)


def test_a_weight_file_holds_every_rate(both, photo, tmp_path):
    frozen = both[1]
    path = weight_files.path_of(frozen.model, "tiny", None, tmp_path)
    weight_files.save(frozen, path)
    assert weight_files.read(path).digest == frozen.digest
    assert weight_files.available(frozen.model, tmp_path) == [0, 1, 2, 3, 4, 5]
    codec = weight_files.load(frozen.model, 2.4, folder=tmp_path)
    data = frozen.at(2.4).encode(photo)
    assert codec.encode(photo) == data
    found = weight_files.load_for(unpack(data), tmp_path)
    assert found.quality == 2.4 and (found.decode(data) == codec.decode(data)).all()


def test_weights_of_a_narrow_range_have_its_qualities_alone(narrow, photo, tmp_path):
    whole, narrow = narrow
    wider = gained.freeze(whole, "tiny", (0.005, 0.03))
    assert narrow.digest != wider.digest
    assert [wider.qualities[end] for end in (0, -1)] == [550, 3276]
    path = weight_files.path_of("hyperprior", "tiny", None, tmp_path)
    weight_files.save(narrow, path)
    assert weight_files.read(path).digest == narrow.digest
    assert weight_files.available("hyperprior", tmp_path) == [1, 2]
    for refused, message in ((2.5, "qualities 1 to 2"), (0, "qualities 1 to 2"), (7, "0 to 5")):
        with pytest.raises(Unsupported, match=message):
            narrow.at(refused)
    with pytest.raises(BadData, match="no weights for hyperprior at quality 3"):
        weight_files.load("hyperprior", 3, folder=tmp_path)
    data = weight_files.load("hyperprior", 1.4, folder=tmp_path).encode(photo)
    assert weight_files.load_for(unpack(data), tmp_path).quality == 1.4
    rates = targets.Rates("hyperprior", folder=tmp_path)
    assert (rates.qualities, rates.chosen(None)) == (range(1000, 2001), 2000)


def test_weights_for_a_range_are_evaluated_at_its_rate_points(narrow, photo, tmp_path):
    weight_files.save(narrow[1], weight_files.path_of("hyperprior", "tiny", None, tmp_path))
    (tmp_path / "pictures").mkdir()
    images.write_picture(tmp_path / "pictures" / "photo.png", photo)
    command = ["evaluate", "--model", "hyperprior", "--weights", tmp_path, "--dataset", tmp_path / "pictures"]
    assert main([*map(str, command), "--quiet", "--csv", str(tmp_path / "table.csv")]) == 0
    assert [row["lmbda"] for row in tables.read_csv(tmp_path / "table.csv")] == [0.0067, 0.013]


@pytest.mark.parametrize("lmbdas", ["(0.0067, 0.0131)", "(0.0067, 0.025)", "(0.013, 0.0067)", "()", "(1, 2)", "nan"])
def test_an_altered_range_is_refused(narrow, tmp_path, lmbdas):
    path = weight_files.path_of("hyperprior", "tiny", None, tmp_path)
    weight_files.save(narrow[1], path)
    told = path.read_bytes()
    size = int.from_bytes(told[:8], "little")
    header = told[8 : 8 + size].rstrip().replace(b"(0.0067, 0.013)", lmbdas.encode())
    path.write_bytes(len(header).to_bytes(8, "little") + header + told[8 + size :])
    with pytest.raises(BadData, match=r"altered|not those of a codec"):
        weight_files.read(path)


def test_priors_share_transforms_and_their_gains(narrow, tmp_path):
    whole, first = narrow
    other = Gained(models.make("checkerboard", "tiny", 0.025), 0.025)
    shared = {k: v for k, v in whole.state_dict().items() if gained.of_transforms(k.removeprefix("model."))}
    other.load_state_dict(other.state_dict() | shared)
    second = gained.freeze(other, "tiny", first.lmbdas)
    weight_files.save(first, weight_files.path_of("hyperprior", "tiny", None, tmp_path))
    holder = weight_files.holder_of_transforms(second, tmp_path)
    assert holder == "hyperprior-tiny"
    path = weight_files.path_of("checkerboard", "tiny", None, tmp_path)
    weight_files.save(second, path, holder)
    assert weight_files.read(path).digest == second.digest
    with safe_open(path, framework="pt") as file:
        assert not any(map(gained.of_transforms, file.keys()))
