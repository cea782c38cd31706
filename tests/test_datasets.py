"""Photographs are those of the manifest or an error says so; crop i is always the same crop."""

import csv
import functools
import gc
import hashlib
import http.server
import re
import shutil
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from codec_lib import datasets, images
from codec_lib.errors import BadData

ROWS = {"embedded": 7, "kodak": 24, "photographs": 20, "train": 1277, "more": 183}


def assert_is_a_sentence(message: str):
    assert "\n" not in message
    assert message.endswith(".")


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


# --- manifests --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", datasets.NAMES)
def test_manifests_are_well_formed(name):
    rows = datasets.manifest(name)
    assert len(rows) == ROWS[name]
    for column in ("path", "sha256"):
        assert len({row[column] for row in rows}) == len(rows), f"{column} is not unique"
    for row in rows:
        assert None not in row
        assert all(row.values())
        assert re.fullmatch(r"[0-9a-f]{64}", row["sha256"])
        assert not Path(row["path"]).is_absolute()
        assert ".." not in Path(row["path"]).parts
        assert Path(row["path"]).suffix.lower() in images.SUFFIXES
        assert min(int(row[column]) for column in ("width", "height", "bytes")) > 0


@pytest.mark.parametrize("name", ["train", "more", "photographs"])
def test_every_photograph_of_a_repository_has_a_public_address(name):
    for row in datasets.manifest(name):
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", row["repository"])
        assert re.fullmatch(r"[0-9a-f]{40}", row["commit"])
        assert re.fullmatch(r"https://[\w./%()~-]+", datasets._address(name, row))


def test_kodak_is_the_24_photographs_of_its_size():
    rows = datasets.manifest("kodak")
    assert [row["path"] for row in rows] == [f"kodim{i:02}.png" for i in range(1, 25)]
    assert {tuple(sorted((int(row["width"]), int(row["height"])))) for row in rows} == {(512, 768)}


def test_no_test_photograph_is_trained_on():
    hashes = {name: {row["sha256"] for row in datasets.manifest(name)} for name in datasets.NAMES}
    tested = hashes["kodak"] | hashes["embedded"] | hashes["photographs"]
    assert not tested & (hashes["train"] | hashes["more"])


def test_an_unknown_name_is_refused():
    with pytest.raises(BadData, match="embedded, kodak, photographs, train, more") as caught:
        datasets.manifest("imagenet")
    assert_is_a_sentence(str(caught.value))


def assert_is_the_manifest(paths: list[Path], name: str):
    for path, row in zip(paths, datasets.manifest(name), strict=True):
        data = path.read_bytes()
        assert len(data) == int(row["bytes"])
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        with Image.open(path) as image:
            assert image.size == (int(row["width"]), int(row["height"]))


def test_the_embedded_photographs_are_those_of_the_manifest():
    assert_is_the_manifest(datasets.find("embedded"), "embedded")
    assert datasets.fetch("embedded", progress=False) == datasets.find("embedded")


def test_kodak_is_that_of_the_manifest(kodak):
    assert_is_the_manifest(kodak, "kodak")


def test_the_second_test_set_is_reduced_without_further_loss(tmp_path, monkeypatch, kodak):
    """Of its 20 photographs, four are enough to show it."""
    monkeypatch.setattr(datasets, "_cache", lambda: tmp_path)
    rows = datasets.manifest("photographs")[:4]
    monkeypatch.setattr(datasets, "manifest", lambda name: rows)
    try:
        first = datasets.find("photographs")
    except BadData as error:
        pytest.skip(str(error))
    assert [path.stem for path in first] == [Path(row["path"]).stem for row in rows]
    sizes = [images.read_image(path)[0].shape[1::-1] for path in first]
    assert max(max(size) for size in sizes) == datasets.LONGEST
    for (width, height), row in zip(sizes, rows, strict=True):
        assert width / height == pytest.approx(int(row["width"]) / int(row["height"]), rel=2e-3)
    made = {path: path.stat().st_mtime_ns for path in first}
    assert datasets.find("photographs") == first
    assert {path: path.stat().st_mtime_ns for path in first} == made


def test_a_small_picture_is_not_reduced_and_a_large_one_is_smoothed(photo):
    assert datasets.reduce(photo, 112) is photo
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    reduced = datasets.reduce(noise, 40)
    assert reduced.shape == (30, 40, 3)
    assert reduced.std() < 0.6 * noise.std(), "no pixel is merely picked"


# --- the mirror, the cache and the network ----------------------------------------------------


@pytest.fixture
def site(tmp_path, monkeypatch) -> Path:
    """A `kodak` of two small pictures, in `public/`; an empty mirror and an empty cache; no network."""
    rng = np.random.default_rng(0)
    rows = []
    for name in ("one.png", "two.png"):
        data = save(tmp_path / "public" / name, rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)).read_bytes()
        sha = hashlib.sha256(data).hexdigest()
        rows.append({"path": name, "width": 4, "height": 5, "bytes": len(data), "sha256": sha})
    for folder in ("data", "mirror/kodak", "cache"):
        (tmp_path / folder).mkdir(parents=True)
    with open(tmp_path / "data" / "kodak.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    monkeypatch.setattr(datasets, "DATA", tmp_path / "data")
    monkeypatch.setattr(datasets.pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setenv("CODECBOOK_MIRROR", str(tmp_path / "mirror"))

    def no_network(*_, **__):
        raise ConnectionError("HTTPConnectionPool(host='r0k.us', port=80):\nMax retries exceeded\n")

    monkeypatch.setattr(datasets.pooch, "retrieve", no_network)
    return tmp_path


def copy(site: Path, *names: str, to: str, damage: bool = False) -> list[Path]:
    (site / to / "kodak").mkdir(parents=True, exist_ok=True)
    paths = [Path(shutil.copy(site / "public" / name, site / to / "kodak")) for name in names]
    if damage:
        for path in paths:
            path.write_bytes(path.read_bytes()[:-1] + b"!")
    return paths


def test_the_mirror_is_used(site):
    paths = copy(site, "one.png", "two.png", to="mirror")
    assert datasets.find("kodak") == paths
    assert datasets.fetch("kodak", progress=False) == paths
    assert datasets.open_pictures("kodak") == paths
    assert datasets.kodak_or_embedded() == "kodak"


def test_the_cache_is_used_without_a_mirror_and_where_the_mirror_has_gaps(site, monkeypatch):
    (cached,) = copy(site, "one.png", to="cache")
    (mirrored,) = copy(site, "two.png", to="mirror")
    assert datasets.find("kodak") == [cached, mirrored]
    (also_cached,) = copy(site, "two.png", to="cache")
    assert datasets.find("kodak") == [cached, mirrored]
    monkeypatch.delenv("CODECBOOK_MIRROR")
    assert datasets.find("kodak") == [cached, also_cached]


def test_a_damaged_picture_is_named(site):
    copy(site, "one.png", to="mirror")
    (damaged,) = copy(site, "two.png", to="mirror", damage=True)
    with pytest.raises(BadData, match="SHA-256") as caught:
        datasets.find("kodak")
    assert str(damaged) in str(caught.value)
    assert_is_a_sentence(str(caught.value))


def test_an_intact_copy_in_the_cache_serves_for_a_damaged_one_in_the_mirror(site):
    (one,) = copy(site, "one.png", to="mirror")
    copy(site, "two.png", to="mirror", damage=True)
    (two,) = copy(site, "two.png", to="cache")
    assert datasets.find("kodak") == [one, two]
    assert datasets.fetch("kodak", progress=False) == [one, two]


def test_a_missing_picture_is_named_with_advice(site):
    copy(site, "one.png", to="mirror")
    with pytest.raises(BadData) as caught:
        datasets.find("kodak")
    message = str(caught.value)
    assert message.startswith("two.png")
    assert "python -m codec_lib data fetch kodak" in message
    assert "CODECBOOK_MIRROR" in message
    assert_is_a_sentence(message)


def test_without_a_network_the_advice_is_a_mirror(site):
    copy(site, "one.png", to="mirror")
    with pytest.raises(BadData, match="Max retries exceeded") as caught:
        datasets.fetch("kodak", progress=False)
    message = str(caught.value)
    assert "two.png" in message
    assert "http://r0k.us/graphics/kodak/kodak/two.png" in message
    assert "CODECBOOK_MIRROR" in message
    assert_is_a_sentence(message)
    assert datasets.kodak_or_embedded() == "embedded"


def test_an_error_without_a_message_is_reported_too(site, monkeypatch):
    def time_out(*_, **__):
        raise TimeoutError

    monkeypatch.setattr(datasets.pooch, "retrieve", time_out)
    with pytest.raises(BadData, match="TimeoutError"):
        datasets.fetch("kodak", progress=False)


def test_a_damaged_package_cannot_be_fetched(site, monkeypatch):
    shutil.copy(site / "data" / "kodak.csv", site / "data" / "embedded.csv")
    monkeypatch.setattr(datasets, "_package_path", lambda row: site / "package" / row["path"])
    with pytest.raises(BadData, match="reinstall") as caught:
        datasets.fetch("embedded", progress=False)
    assert_is_a_sentence(str(caught.value))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def server(site, monkeypatch):
    """`site` with its `public/` behind a real HTTP server of this machine, and the real downloader."""
    monkeypatch.undo()  # the real pooch.retrieve
    monkeypatch.setattr(datasets, "DATA", site / "data")
    monkeypatch.setattr(datasets.pooch, "os_cache", lambda name: site / "cache")
    monkeypatch.delenv("CODECBOOK_MIRROR", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(Quiet, directory=str(site / "public"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setattr(datasets, "_KODAK_ADDRESS", f"http://127.0.0.1:{running.server_port}/")
        yield site
        running.shutdown()
        thread.join()
    with warnings.catch_warnings():  # pooch leaves the connection open when the answer is an error
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def test_missing_pictures_are_fetched_once(server, monkeypatch):
    (one,) = copy(server, "one.png", to="cache")
    expected = [one, one.with_name("two.png")]
    assert datasets.fetch("kodak", progress=False) == expected
    assert expected[1].read_bytes() == (server / "public" / "two.png").read_bytes()
    monkeypatch.setattr(datasets.pooch, "retrieve", None)  # nothing more to fetch
    assert datasets.fetch("kodak", progress=False) == expected


def test_a_fetched_picture_replaces_a_damaged_one_of_the_cache(server):
    copy(server, "one.png", to="cache")
    (two,) = copy(server, "two.png", to="cache", damage=True)
    assert datasets.fetch("kodak", progress=False)[1] == two
    assert two.read_bytes() == (server / "public" / "two.png").read_bytes()


@pytest.mark.parametrize("fault", ["changed", "gone"])
def test_a_server_with_another_picture_or_none_is_an_error(server, fault):
    path = server / "public" / "two.png"
    if fault == "changed":
        path.write_bytes(b"a portal's login page")
    else:
        path.unlink()
    with pytest.raises(BadData, match=r"two\.png") as caught:
        datasets.fetch("kodak", progress=False)
    assert_is_a_sentence(str(caught.value))
    assert not (server / "cache" / "kodak" / "two.png").exists()


# --- folders ----------------------------------------------------------------------------------


def test_a_folder_is_searched_for_pictures_in_order(tmp_path, photo):
    for name in ("b.png", "a.JPG", "sub/deep/c.webp"):
        save(tmp_path / name, photo)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    expected = [tmp_path / name for name in ("a.JPG", "b.png", "sub/deep/c.webp")]
    assert datasets.open_pictures(tmp_path) == expected
    assert datasets.open_pictures(str(tmp_path)) == expected


def test_pictures_of_one_name_are_told_apart():
    paths = [Path("a/one.png"), Path("a/two.png"), Path("b/one.jpg")]
    assert datasets.titles(paths) == ["a/one.png", "two", "b/one.jpg"]
    assert datasets.titles([]) == []


def test_open_pictures_of_a_named_set():
    assert datasets.open_pictures("embedded") == datasets.find("embedded")


def test_several_sets_are_one():
    assert datasets.named("train+more") == ["train", "more"]
    assert datasets.named("embedded+other") == datasets.named("a/folder+b") == []
    assert datasets.open_pictures("embedded+embedded") == 2 * datasets.find("embedded")


def test_large_pictures_are_reduced_before_crops_are_taken(tmp_path):
    save(tmp_path / "a.png", np.zeros((60, 3200, 3), np.uint8))
    crops = datasets.RandomCrops([tmp_path / "a.png"], 16, progress=False)
    assert crops.pictures[0].size == (datasets.LONGEST_IN_TRAINING, 30)


def test_a_folder_that_is_absent_or_a_file_is_refused(tmp_path):
    (tmp_path / "file.png").write_bytes(b"")
    for path in (tmp_path / "absent", tmp_path / "file.png"):
        with pytest.raises(BadData, match="no data set or folder") as caught:
            datasets.open_pictures(path)
        assert str(path) in str(caught.value)
        assert_is_a_sentence(str(caught.value))


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(BadData, match="holds no pictures") as caught:
        datasets.open_pictures(tmp_path)
    assert_is_a_sentence(str(caught.value))


def test_an_unreadable_picture_is_left_out_and_said_so(tmp_path, photo, capsys):
    for name in ("a.png", "c.png"):
        save(tmp_path / name, photo)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:1000])
    crops = datasets.RandomCrops(datasets.open_pictures(tmp_path), 16, progress=False)
    assert len(crops.pictures) == 2
    said = capsys.readouterr().err
    assert "1 of 3 pictures" in said
    assert "b.png" in said
    assert datasets.centre_crops(datasets.open_pictures(tmp_path), 16).shape == (2, 3, 16, 16)


def test_a_folder_of_unreadable_pictures_is_refused(tmp_path):
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_text("no picture")
    paths = datasets.open_pictures(tmp_path)
    for use in (datasets.RandomCrops, datasets.centre_crops):
        with pytest.raises(BadData, match="None of the 2 pictures") as caught:
            use(paths, 16)
        assert "a.png" in str(caught.value)
        assert_is_a_sentence(str(caught.value))


# --- splitting --------------------------------------------------------------------------------


@given(n=st.integers(0, 120), every=st.integers(2, 30))
def test_a_split_is_disjoint_complete_ordered_and_repeatable(n, every):
    paths = [Path(f"{i:03}.png") for i in range(n)]
    training, validation = datasets.split(paths, every)
    assert datasets.split(list(paths), every) == (training, validation)
    if n < 2:
        assert training == validation == paths
        return
    assert sorted(training + validation) == paths
    assert training == sorted(training)
    assert validation == sorted(validation)
    assert len(validation) == max(n // every, 1)
    assert training


# --- crops ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_pictures(tmp_path_factory, photo) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    return [save(folder / "a.png", photo), save(folder / "b.png", photo[::-1, :60])]


def test_crops_are_bytes_of_their_size(two_pictures):
    crops = datasets.RandomCrops(two_pictures, 24, progress=False)
    for i in (0, 1, 10**12):
        assert crops[i].shape == (3, 24, 24)
        assert crops[i].dtype == torch.uint8


def test_a_crop_depends_on_the_seed_and_its_number_alone(two_pictures):
    first = datasets.RandomCrops(two_pictures, 24, seed=3, progress=False)
    again = datasets.RandomCrops(two_pictures, 24, seed=3, progress=False)
    forwards = [first[i] for i in range(20)]
    np.random.seed(0)
    torch.rand(7)
    backwards = [again[i] for i in reversed(range(20))][::-1]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards, strict=True))


def test_crops_differ_from_each_other_and_between_seeds(two_pictures):
    crops = [
        datasets.RandomCrops(two_pictures, 24, seed=seed, progress=False)[i].numpy().tobytes()
        for seed in (0, 1)
        for i in range(20)
    ]
    assert len(set(crops)) == 40


def contains(picture: np.ndarray, crop: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(picture, crop.shape[:2], axis=(0, 1))
    return (windows == crop.transpose(2, 0, 1)).all((2, 3, 4)).any()


def test_without_scaling_a_crop_is_part_of_a_picture_or_of_its_mirror_image(tmp_path, photo):
    pictures = [photo[:30, :36], photo[50:90, 50:70]]
    paths = [save(tmp_path / f"{k}.png", picture) for k, picture in enumerate(pictures)]
    crops = datasets.RandomCrops(paths, 16, scales=(1.0, 1.0), progress=False)
    kinds = set()
    for i in range(30):
        crop = crops[i].permute(1, 2, 0).numpy()
        places = {
            (k, mirrored)
            for k, picture in enumerate(pictures)
            for mirrored in (False, True)
            if contains(picture, crop[:, ::-1] if mirrored else crop)
        }
        assert places
        kinds |= places
    assert kinds == {(0, False), (0, True), (1, False), (1, True)}


def test_crops_reach_the_borders(tmp_path):
    """The position is visible: red counts columns and green rows."""
    rows, columns = np.mgrid[:40, :40].astype(np.uint8)
    path = save(tmp_path / "a.png", np.stack([columns, rows, 0 * rows], axis=-1))
    crops = datasets.RandomCrops([path], 32, scales=(1.0, 1.0), progress=False)
    seen = torch.stack([crops[i] for i in range(200)]).amin((2, 3))
    assert seen[:, 0].unique().tolist() == seen[:, 1].unique().tolist() == list(range(8))


def test_a_downscaled_crop_shows_more_of_the_picture(tmp_path):
    """Red counts columns, so the slope of red is the scale."""
    columns = np.tile(np.arange(128, dtype=np.uint8), (128, 1))
    path = save(tmp_path / "a.png", np.stack([columns] * 3, axis=-1))
    crops = datasets.RandomCrops([path], 32, scales=(0.5, 1.0), progress=False)
    spans = [(crops[i][0, 0, -1].int() - crops[i][0, 0, 0].int()).abs().item() for i in range(100)]
    assert 31 <= min(spans) < 35
    assert 58 < max(spans) <= 63  # 32 columns of up to two each, seen at their middles


def test_an_upscaled_crop_shows_less_of_the_picture(tmp_path):
    columns = np.tile(np.arange(0, 256, 2, dtype=np.uint8), (128, 1))
    path = save(tmp_path / "a.png", np.stack([columns] * 3, axis=-1))
    crops = datasets.RandomCrops([path], 32, scales=(1.0, 2.0), progress=False)
    spans = [(crops[i][0, 0, -1].int() - crops[i][0, 0, 0].int()).abs().item() for i in range(100)]
    assert 28 <= min(spans) < 34
    assert 56 < max(spans) <= 62


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (15, 16), (16, 16), (17, 300)])
def test_pictures_smaller_than_a_crop_are_enlarged(tmp_path, size):
    path = save(tmp_path / "a.png", np.full((*size, 3), (10, 200, 30), dtype=np.uint8))
    crops = datasets.RandomCrops([path], 16, progress=False)
    expected = torch.tensor([10, 200, 30], dtype=torch.uint8)[:, None, None].expand(3, 16, 16)
    for i in range(20):
        assert torch.equal(crops[i], expected)
    assert torch.equal(datasets.centre_crops([path], 16)[0], expected)


def test_a_picture_of_any_size_can_be_cropped(tmp_path, photo):
    for k, size in enumerate([(1, 1), (3, 90), (90, 2), (24, 24), (25, 23), (96, 112)]):
        save(tmp_path / f"{k}.png", photo[: size[0], : size[1]])
    crops = datasets.RandomCrops(datasets.open_pictures(tmp_path), 24, progress=False)
    assert all(crops[i].shape == (3, 24, 24) for i in range(200))


def test_centre_crops(tmp_path, photo):
    exact = save(tmp_path / "exact.png", photo[:32, :32])
    wide = save(tmp_path / "wide.png", photo[:32])
    large = save(tmp_path / "large.png", np.repeat(np.repeat(photo[:64, :64], 2, 0), 2, 1))
    crops = datasets.centre_crops([exact, wide, large], 32)
    assert crops.shape == (3, 3, 32, 32)
    assert crops.dtype == torch.uint8
    assert torch.equal(crops[0], torch.from_numpy(photo[:32, :32].copy()).permute(2, 0, 1))
    assert torch.equal(crops[1], torch.from_numpy(photo[:32, 40:72].copy()).permute(2, 0, 1))
    middle = photo[16:48, 16:48].astype(int)  # the large one is halved first
    assert np.abs(crops[2].permute(1, 2, 0).numpy() - middle).mean() < 4
    assert torch.equal(datasets.centre_crops([exact, wide, large], 32, most=2), crops[:2])
