"""What notebook 07 shows is what files hold: each control's picture and line, and the boards that join them."""

import datetime
import io

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from PIL import Image

from codec_lib import metrics
from codec_lib.errors import BadImage, Unsupported
from codec_lib.evaluation import controls, explorer, inspection
from codec_lib.evaluation.explorer import OtherSums, Scene

NOW = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture(scope="module")
def scenes(codecs, photo):
    """Of each model; the photograph is 96 x 112."""
    return {name: Scene(codec, photo) for name, codec in codecs.items()}


@pytest.fixture(scope="module", params=["factorized", "hyperprior", "joint", "checkerboard"])
def scene(request, scenes):
    return scenes[request.param]


def test_a_crop_is_the_middle_and_small_pictures_are_enlarged(photo):
    np.testing.assert_array_equal(explorer.crop(photo, 64), photo[16:80, 24:88])
    assert explorer.crop(photo, 200).shape == (200, 200, 3)
    assert explorer.crop(photo[:1, :300], 64).shape == (64, 64, 3)


def test_a_photograph_of_any_format_is_opened_and_anything_else_refused(photo):
    buffer = io.BytesIO()
    Image.fromarray(photo).convert("L").save(buffer, "WEBP")
    whole = io.BytesIO(buffer.getvalue())
    assert explorer.open_photograph(whole).shape == (explorer.SIDE, explorer.SIDE, 3)
    for data in (b"", b"no picture", buffer.getvalue()[:60]):
        with pytest.raises(BadImage):
            explorer.open_photograph(io.BytesIO(data))


def test_flipping_shows_the_original_and_what_the_file_holds(scene, photo):
    np.testing.assert_array_equal(explorer.flipped(scene, "original").picture, photo)
    shown = explorer.flipped(scene, "decoded")
    np.testing.assert_array_equal(shown.picture, scene.codec.decode(scene.codec.encode(photo)))
    assert f"{len(scene.data):,} bytes" in shown.caption
    assert f"{metrics.psnr(photo, shown.picture):.2f} dB" in shown.caption


def test_the_bits_of_a_scene_are_those_of_its_file(scene):
    of_y = 8 * len(explorer.unpack(scene.data).streams[-1])  # with the distances of escapes, which tables leave out
    assert of_y - 400 < scene.bits.sum() < of_y


def test_painted_bits_are_light_where_a_block_is_dear(scene, photo):
    picture = explorer.painted(scene, 1.0).picture.astype(float).mean(2)
    blocks = scene.bits.sum(0)
    y, x = np.unravel_index(blocks.argmax(), blocks.shape)
    v, u = np.unravel_index(blocks.argmin(), blocks.shape)
    assert picture[16 * y, 16 * x] > picture[16 * v, 16 * u]
    grey = explorer.painted(scene, 0.0).picture
    assert np.abs(grey.astype(float) - photo.mean(2, keepdims=True)).max() <= 0.5


def test_a_channel_times_one_changes_nothing_and_times_zero_much(scene):
    np.testing.assert_array_equal(explorer.scaled(scene, 0, 1.0).picture, scene.decoded)
    without = explorer.scaled(scene, 0, 0.0).picture
    assert metrics.psnr(scene.pixels, without) < metrics.psnr(scene.pixels, scene.decoded) - 0.2


def test_all_groups_give_the_decoded_picture_and_fewer_less(scene):
    n = scene.groups
    shown = [explorer.after(scene, k).picture[:, : scene.pixels.shape[1]] for k in (0, n)]
    np.testing.assert_array_equal(shown[1], scene.decoded)
    assert metrics.psnr(scene.pixels, shown[0]) < metrics.psnr(scene.pixels, shown[1])


def test_in_another_order_sums_are_the_same_on_paper_and_differ_in_floats():
    torch.manual_seed(0)
    x, linear = torch.randn(9, 300), torch.nn.Linear(300, 40)
    image, conv = torch.randn(1, 30, 8, 8), torch.nn.Conv2d(30, 5, 3)
    up = torch.nn.ConvTranspose2d(30, 5, 3)
    with torch.no_grad():
        for layer, v in ((linear, x), (conv, image), (up, image)):
            with OtherSums(0):
                torch.testing.assert_close(layer(v), layer(v), rtol=0, atol=0)
            with OtherSums(1):
                other = layer(v)
            torch.testing.assert_close(other, layer(v))
        with OtherSums(1):
            assert not torch.equal(linear(x), x @ linear.weight.T + linear.bias)


@pytest.mark.parametrize("model", ["hyperprior", "joint", "checkerboard"])
def test_with_integers_a_decoder_may_add_in_any_order(scenes, model):
    scene = scenes[model]
    for seed in (0, 1, 2):
        shown = explorer.disagreeing(scene, seed)
        np.testing.assert_array_equal(shown.picture, scene.decoded)
        assert "0 tables differ, 0 % of the symbols are misread" in shown.caption


def test_with_floats_a_decoder_must_add_as_the_encoder_did(scenes, codecs):
    scene = Scene(explorer.in_floats(codecs["joint"]), scenes["joint"].pixels)
    shown = explorer.disagreeing(scene, 0)
    assert "floats, the encoder's order: 0 of" in shown.caption
    np.testing.assert_array_equal(shown.picture, scene.decoded)
    assert ": 0 of" not in explorer.disagreeing(scene, 1).caption
    for codec in (codecs["factorized"], codecs["space-channel"]):
        with pytest.raises(Unsupported, match="whole positions"):
            explorer.in_floats(codec)


def test_a_desynchronised_decoder_shows_noise(scenes, codecs, monkeypatch):
    """One table off by one, as a float's last bit can make it, and all that is read after it is wrong."""
    scene = Scene(explorer.in_floats(codecs["checkerboard"]), scenes["checkerboard"].pixels)
    right = scene.decoded
    predict, calls = type(scene.codec.prior).predict, []

    def one_off(self, psi, around):
        mean, index = predict(self, psi, around)
        if not calls:
            index[0, 0] += 1
        calls.append(1)
        return mean, index

    assert scene.latent.tables.size
    monkeypatch.setattr(type(scene.codec.prior), "predict", one_off)
    read = explorer._reader(scene.codec, scene.data)
    read = inspection.walk(scene.codec, scene.latent.z, *scene.bits.shape[1:], read)
    assert (read.symbols != scene.latent.symbols).mean() > 0.02
    assert not np.array_equal(scene.synthesise(read.y_hat), right)


# --- boards -----------------------------------------------------------------------------------


def shown_by(board: widgets.VBox) -> tuple[np.ndarray, str]:
    _, picture, line = board.children
    return np.asarray(Image.open(io.BytesIO(picture.value))), line.value


def test_a_board_follows_its_controls(scenes, photo):
    strength = widgets.FloatSlider(0.0, min=0, max=1)
    which = widgets.ToggleButtons(options=["original", "decoded"])
    board = controls.board(lambda which, strength: explorer.flipped(scenes["hyperprior"], which), which=which,
                           strength=strength)  # fmt: skip
    picture, line = shown_by(board)
    np.testing.assert_array_equal(picture[::2, ::2], photo)
    assert "original" in line and line.endswith(" s")
    which.value = "decoded"
    picture, line = shown_by(board)
    np.testing.assert_array_equal(picture[::2, ::2], scenes["hyperprior"].decoded)
    assert "decoded" in line


def test_an_error_is_the_line_of_a_board(photo):
    def show(seed):
        if seed:
            raise Unsupported("Not <this>.")
        return explorer.Shown(photo, "fine")

    seed = widgets.IntSlider(0, max=1)
    board = controls.board(show, seed=seed)
    seed.value = 1
    picture, line = shown_by(board)
    assert line == "Not &lt;this&gt;."
    assert len(picture) == 2 * len(photo)


def test_a_reader_adds_a_photograph_by_upload_or_path(photo, tmp_path):
    photographs = {"one": explorer.crop(photo)}
    choice, place = controls.chooser(photographs)
    row, line = place.children
    _, upload, path = row.children
    Image.fromarray(photo).save(tmp_path / "mine.png")
    data = (tmp_path / "mine.png").read_bytes()
    upload.value = (
        {"name": "own.png", "type": "image/png", "size": len(data), "content": memoryview(data), "last_modified": NOW},
    )
    assert choice.value == "2 own.png"
    path.value = str(tmp_path / "mine.png")
    assert choice.value == "3 mine.png"
    np.testing.assert_array_equal(photographs["2 own.png"], photographs["3 mine.png"])
    path.value = str(tmp_path / "none.png")
    assert "none.png" in line.value and choice.value == "3 mine.png"
