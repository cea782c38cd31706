"""Measurements are kept with their record, read back as they were, and refused when out of date."""

import json

import pytest
from conftest import is_a_sentence

from codec_lib import images, tables
from codec_lib.errors import BadData, CodecError
from codec_lib.evaluation import classical, evaluation, measurements
from codec_lib.weights import weight_files

TIMED = {"time(enc)", "time(dec)"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, photo):
    folder = tmp_path_factory.mktemp("pictures")
    for k in range(2):
        images.write_picture(folder / f"p{k}.png", photo[: 64 + 16 * k, :80])
    return str(folder)


@pytest.fixture
def weights(tmp_path, codecs, monkeypatch):
    folder = tmp_path / "weights"
    folder.mkdir()
    frozen = codecs["hyperprior"]
    path = weight_files.path_of(frozen.model, frozen.preset, frozen.quality, folder)
    weight_files.save(frozen, path)
    monkeypatch.setattr(weight_files, "WEIGHTS", folder)
    return weight_files.read(path)


def equal(a, b):
    return [{k: v for k, v in row.items() if k not in TIMED} for row in a] == [
        {
            k: pytest.approx(v, abs=1e-6, nan_ok=True) if isinstance(v, float) else v
            for k, v in row.items()
            if k not in TIMED
        }
        for row in b
    ]


def test_what_is_kept_is_what_is_measured(weights, pictures, tmp_path):
    name = measurements.stem(weights.model, weights.preset, weights.quality)
    path = measurements.keep(name, pictures, tmp_path / "kept")
    assert path.parent == tmp_path / "kept" / pictures.rsplit("/", 1)[-1]
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["weights"] == {name: weights.digest.hex()}
    kept = measurements.pictures(weights, pictures, None, tmp_path / "kept")
    assert all(row["exact"] for row in kept)
    now = measurements.pictures(weights, pictures)
    assert [row["bits"] for row in kept] == [row["bits"] for row in now]
    assert equal(kept, now)


def test_each_coder_is_kept_by_itself(weights, pictures, tmp_path):
    stem = measurements.stem(weights.model, weights.preset, weights.quality)
    measurements.keep(f"{stem}.torchac", pictures, tmp_path)
    assert len(measurements.pictures(weights, pictures, "torchac", tmp_path)) == 2
    with pytest.raises(BadData):
        measurements.pictures(weights, pictures, None, tmp_path)


def test_a_measurement_of_other_weights_is_refused(weights, pictures, tmp_path):
    name = measurements.stem(weights.model, weights.preset, weights.quality)
    path = measurements.keep(name, pictures, tmp_path)
    record = json.loads(path.with_suffix(".json").read_text())
    record["weights"][name] = "00" * 32
    path.with_suffix(".json").write_text(json.dumps(record))
    with pytest.raises(BadData, match="other weights") as caught:
        measurements.pictures(weights, pictures, None, tmp_path)
    assert is_a_sentence(caught.value)


def test_a_measurement_that_is_not_there_is_refused(weights, pictures, tmp_path):
    with pytest.raises(BadData):
        measurements.pictures(weights, pictures, None, tmp_path)


def test_a_curve_is_kept_too(pictures, tmp_path):
    measurements.keep("jpeg", pictures, tmp_path)
    assert equal(measurements.curve("JPEG", pictures, tmp_path), measurements.curve("JPEG", pictures))


def test_every_classical_codec_has_a_name_for_a_file():
    assert list(measurements.curves().values()) == list(classical.CODECS)
    assert all(name.isalnum() for name in measurements.curves())


@pytest.mark.parametrize("name", ["", "nothing", "hyperprior", "../jpeg", "hyperprior-compact-q9"])
def test_an_unknown_name_is_one_sentence(name, pictures, tmp_path, capsys):
    with pytest.raises(CodecError) as caught:
        measurements.keep(name, pictures, tmp_path)
    assert is_a_sentence(caught.value)
    assert measurements.main([name, "--dataset", pictures, "--folder", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_command_line_says_where_it_went(pictures, tmp_path, capsys):
    assert measurements.main(["jpeg", "--dataset", pictures, "--folder", str(tmp_path)]) == 0
    written = capsys.readouterr().out.strip()
    assert tables.read_csv(written)[0].keys() >= {"quality", "bpp", "psnr", "ms_ssim"}


def test_measuring_fails_without_leaving_half(weights, pictures, tmp_path, monkeypatch):
    def fails(*_: object) -> None:
        raise BadData("No.")

    monkeypatch.setattr(evaluation, "evaluate", fails)
    name = measurements.stem(weights.model, weights.preset, weights.quality)
    with pytest.raises(BadData, match="No"):
        measurements.keep(name, pictures, tmp_path)
    assert not list(tmp_path.rglob("*.csv"))
