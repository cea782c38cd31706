"""What inspection shows is what the file is made of."""

import numpy as np
import pytest

from codec_lib import images
from codec_lib.codecs.codec import Codec
from codec_lib.errors import Unsupported
from codec_lib.evaluation.inspection import inspect, mean_psnr


@pytest.fixture(scope="module", params=["hyperprior", "joint", "checkerboard"])
def frozen(request, codecs) -> Codec:
    return codecs[request.param]


def test_the_symbols_are_those_of_the_file(frozen, photo):
    seen, symbols = inspect(frozen, photo), frozen.analyse(photo)
    np.testing.assert_array_equal(seen.symbols, symbols["y"])
    np.testing.assert_array_equal(seen.z, symbols["z"])


def test_symbols_are_rounded_residuals_and_y_hat_is_near_y(frozen, photo):
    seen = inspect(frozen, photo)
    np.testing.assert_array_equal(seen.symbols, np.round(seen.y - seen.mean))
    assert np.abs(seen.y_hat - seen.y).max() <= 0.5
    np.testing.assert_allclose(seen.normalised * seen.scale + seen.mean, seen.y, atol=1e-9)


def test_what_is_shown_decodes_to_the_picture(frozen, photo):
    import torch

    y_hat = torch.from_numpy(inspect(frozen, photo).y_hat).float()[None]
    with torch.inference_mode():
        x_hat = frozen.network.g_s(y_hat.contiguous(memory_format=torch.channels_last))
    np.testing.assert_array_equal(images.to_pixels(images.crop(x_hat, *photo.shape[:2])), frozen.estimate(photo)[0])


def test_the_bits_add_up_to_the_estimate(frozen, photo):
    seen = inspect(frozen, photo)
    assert seen.bits.sum() + seen.bits_z.sum() == pytest.approx(frozen.estimate(photo)[1], rel=1e-6)
    assert seen.bits.shape == seen.y.shape
    assert seen.bits_z.shape == seen.z.shape


def test_scales_vary_from_place_to_place(frozen, photo):
    assert (inspect(frozen, photo).scale.std((1, 2)) > 0).mean() > 0.5


def test_the_factorized_prior_predicts_nothing_to_look_at(tiny_codec, photo):
    with pytest.raises(Unsupported, match="factorized"):
        inspect(tiny_codec, photo)


def test_mean_psnr_is_that_of_the_pictures_without_their_padding():
    pictures = [np.full((30, 20, 3), grey, np.uint8) for grey in (100, 120)]
    seen = []

    def shift(x):
        seen.append(tuple(x.shape))
        return x + 16 / 255

    assert mean_psnr(pictures, shift, 16) == pytest.approx(20 * np.log10(255 / 16))
    assert seen == [(1, 3, 32, 32)] * 2
