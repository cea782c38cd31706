"""What notebook 05 sets side by side is counted and named rightly."""

import pytest

from codec_lib import images
from codec_lib.evaluation import comparison, evaluation


def row(**values):
    return {"image": "a", "bits": 1000, "num_pixels": 1000, "bpp": 1.0, "bpp_estimated": 1.0, "exact": True,
            "psnr": 30.0} | values  # fmt: skip


def test_files_are_near_within_half_a_percent_and_a_container():
    rows = [row(), row(bits=1000 + 388), row(bits=1000 + 395), row(bits=994, exact=False)]
    assert comparison.checks(rows) == {"files": 4, "exact": 3, "near": 2}


def test_a_codec_of_half_the_rate_has_half_the_bits():
    curve = [{"bpp": 2.0 ** (k - 2), "psnr": 28.0 + 2 * k} for k in range(4)]
    halved = [r | {"bpp": r["bpp"] / 2} for r in curve]
    far = [{"bpp": 9.0, "psnr": 60.0}, {"bpp": 10.0, "psnr": 61.0}]
    point = curve[:1]
    matrix = comparison.bd_rates({"a": curve, "b": halved, "far": far, "point": point}, ["a", "b", "far", "point"])
    assert [r["against"] for r in matrix] == ["a", "b", "far"]
    assert matrix[0]["b"] == pytest.approx(-50) and matrix[1]["a"] == pytest.approx(100)
    assert matrix[0]["a"] == 0 and matrix[0]["far"] is None and "point" not in matrix[0]


def test_losses_stand_beside_the_reports():
    ours = [{"model": "joint", "lmbda": 0.013, "bpp": 0.5, "psnr": 32.0}]
    (found,) = comparison.losses(ours, comparison.of_report())
    assert found["joint"] == pytest.approx(0.5 + 0.013 * 255**2 * 10**-3.2)
    assert {"lmbda", "joint", "factorized, the report", "hyperprior, the report", "joint, the report"} == set(found)
    assert comparison.losses(ours, {})[0] == {"lmbda": 0.013, "joint": found["joint"]}


def test_published_curves_of_our_models_are_compressais():
    curves = comparison.of_compressai(comparison.published())
    assert list(curves) == ["factorized, CompressAI", "hyperprior, CompressAI", "joint, CompressAI"]
    assert all(len(rows) >= 4 for rows in curves.values())


def test_effort_counts_all_stages():
    card = {"steps": 10, "minutes": 1.5, "crop": 192, "validation": {"val_loss": 1.0}}
    before = [{"steps": 5, "minutes": 2.0}]
    (told,) = comparison.effort({"joint": card | {"before": before}})
    assert (told["stages"], told["steps"], told["minutes"]) == (2, 15, 3.5)


def test_extremes_and_the_worst_are_found():
    ours, theirs = [row(psnr=v) for v in (30.0, 33.0, 29.0)], [row(psnr=v) for v in (29.0, 29.0, 29.5)]
    assert comparison.extremes(ours, theirs) == {"least": 2, "most": 1}
    assert comparison.worst([row(image="b", psnr=20.0), row()]) == {"worst psnr": 20.0, "worst picture": "b"}
    gained = comparison.beside([r | {"lmbda": 1.0} for r in ours], [r | {"lmbda": 1.0} for r in theirs])
    assert gained["gain [dB]"] == pytest.approx(1.5) and (gained["pictures won"], gained["of"]) == (2, 3)


def test_transforms_are_counted(codecs):
    assert comparison.different_analyses([codecs["joint"], codecs["joint"]]) == 1
    assert comparison.different_analyses([codecs["joint"], codecs["hyperprior"]]) in (1, 2)


def test_models_are_compared_by_files(codecs, photo, tmp_path):
    images.write_picture(tmp_path / "a.png", photo)
    (found,) = evaluation.compare({"mine": codecs["hyperprior"]}, [tmp_path / "a.png"])
    data = codecs["hyperprior"].encode(photo)
    assert found["bpp"] == pytest.approx(8 * len(data) / photo[..., 0].size)
    assert 0 < found["z [bpp]"] < found["y [bpp]"] < found["bpp"]
    assert found["loss"] == pytest.approx(evaluation.loss(found | codecs["hyperprior"].rate_point))
