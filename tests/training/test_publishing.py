"""A released run: a weight file that reads back, and a card that tells the truth about it."""

import copy
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import SENTENCE
from PIL import Image

import codec_lib
from codec_lib import datasets
from codec_lib.codecs import freezing
from codec_lib.errors import BadData
from codec_lib.evaluation import evaluation
from codec_lib.training import initialisation, publishing
from codec_lib.training.runs import Run, Settings
from codec_lib.training.training import train
from codec_lib.weights import weight_files
from codec_lib.weights.cards import read_card_of

KEYS = {
    "name", "model", "preset", "lmbda", "dataset", "batch_size", "crop", "lr", "seed", "compile", "average", "steps",
    "minutes", "precision", "optimiser", "prior_only", "straight_through", "last_lr", "smallest_scale", "largest_scale",
    "random_start", "length", "started_from", "corpus", "before", "device", "processes", "versions", "date",
    "parameters", "digest", "validation", "loss_curve", "kodak",
}  # fmt: skip


@pytest.fixture(scope="module", params=["factorized", "space-channel"])
def run(request, tmp_path_factory, photo) -> Run:
    """A finished run of two steps, of a model without side information and of one with."""
    folder = tmp_path_factory.mktemp("pictures")
    for k in range(2):
        Image.fromarray(photo[k:]).save(folder / f"{k}.png")
    settings = Settings(
        request.param, 0.013, "tiny", str(folder), 2, batch_size=2, crop=32, precision="float32", seed=7
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(initialisation, "initialise", lambda *_: None)
        return train(settings, tmp_path_factory.mktemp("run"), progress=False)


@pytest.fixture
def no_kodak(monkeypatch, tmp_path):
    monkeypatch.delenv("CODECBOOK_MIRROR", raising=False)
    monkeypatch.setattr(datasets.pooch, "os_cache", lambda name: tmp_path / "cache" / name)


def test_the_weights_are_the_running_average_in_the_codec_s_precision(run, no_kodak, tmp_path):
    model = run.settings.model
    path, _ = publishing.release(run, tmp_path, progress=False)
    assert path == tmp_path / f"{model}-tiny-q2.safetensors"
    stored = weight_files.read(path)
    assert (stored.model, stored.preset, stored.lmbda, stored.quality) == (model, "tiny", 0.013, 2)
    assert stored.digest == freezing.freeze(run.average, "tiny", 0.013).digest
    assert stored.digest != freezing.freeze(run.model, "tiny", 0.013).digest
    assert codec_lib.load(model, 2, folder=tmp_path).digest == stored.digest


def test_the_card_tells_what_the_weights_are(run, no_kodak, tmp_path):
    name = f"{run.settings.model}-tiny-q2"
    path, card = publishing.release(run, tmp_path, progress=False)
    assert json.loads((tmp_path / f"{name}.json").read_text()) == card
    assert set(card) == KEYS
    known = {
        "name": name, "model": run.settings.model, "preset": "tiny", "lmbda": 0.013, "seed": 7, "steps": 2,
        "batch_size": 2, "crop": 32, "precision": "float32", "started_from": None, "kodak": None,
        "prior_only": False, "before": [], "length": "steps", "processes": 1,
        "dataset": run.settings.dataset, "validation": run.rows[-1], "minutes": round(run.seconds / 60, 1),
    }  # fmt: skip
    assert card == card | known
    assert card["parameters"] == sum(p.numel() for p in run.model.parameters())
    assert card["digest"] == weight_files.read(path).digest.hex()
    assert card["versions"]["torch"] == torch.__version__
    assert card["versions"]["codec_lib"] == codec_lib.__version__
    assert "CPU" in card["device"]
    assert [row["step"] for row in card["loss_curve"]] == [1, 2]
    assert [row["val_loss"] for row in card["loss_curve"]] == [row["val_loss"] for row in run.rows]
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{name}.json", f"{name}.safetensors"]


def test_the_card_tells_what_was_done_before(run, no_kodak, tmp_path):
    _, first = publishing.release(run, tmp_path, progress=False)
    _, second = publishing.release(run, tmp_path, progress=False, source_cards=[first])
    second["digest"] = "second"
    again = first | {"minutes": 99.0}  # the same run, repeated
    _, third = publishing.release(run, tmp_path, progress=False, source_cards=[second, again])
    assert second["before"] == third["before"][:1]
    assert len(third["before"]) == 2
    for stage, card in zip(third["before"], (first, second), strict=True):
        assert stage == {name: card[name] for name in stage}
        assert {"name", "lmbda", "steps", "minutes", "device", "digest", "prior_only"} <= set(stage)


def test_kodak_is_measured_from_files_where_it_is(run, tmp_path, monkeypatch, photo):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    large = np.tile(photo, (2, 2, 1))
    for path, pixels in zip(paths, (large, large[::-1]), strict=True):
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    monkeypatch.setattr(datasets, "find", lambda name: {"kodak": paths}[name])
    path, card = publishing.release(run, tmp_path, progress=False)
    means = evaluation.summary(evaluation.evaluate(weight_files.read(path), paths, progress=False))
    assert card["kodak"] == {name: pytest.approx(means[name], abs=5.1e-5) for name in ("bpp", "psnr", "ms_ssim")}


def test_a_release_that_is_interrupted_leaves_nothing(run, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "find", interrupt)
    with pytest.raises(KeyboardInterrupt):
        publishing.release(run, tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_what_two_cards_share_is_told_once(run, no_kodak, tmp_path):
    """As where the prior comes from one model and the transforms from another that has the same ancestor."""
    _, ancestor = publishing.release(run, tmp_path, progress=False)
    one, other = (
        publishing.release(run, tmp_path, progress=False, source_cards=[ancestor])[1] | {"digest": d} for d in "ab"
    )
    _, last = publishing.release(run, tmp_path, progress=False, source_cards=[one, other])
    assert [stage["digest"] for stage in last["before"]] == [ancestor["digest"], "a", "b"]


def test_weights_are_published_with_their_cards(run, no_kodak, tmp_path, capsys):
    target = tmp_path / "target"
    target.mkdir()
    path, card = publishing.release(run, tmp_path, progress=False)
    assert publishing.main([str(path), "--to", str(target)]) == 0
    published = target / path.name
    assert capsys.readouterr().out == f"{published}: {published.stat().st_size:,} bytes\n"
    assert weight_files.read(published).digest.hex() == card["digest"]
    assert json.loads(published.with_suffix(".json").read_text()) == card
    before = published.read_bytes()
    path.with_suffix(".json").write_text(json.dumps(card | {"digest": "00"}))
    assert publishing.main([str(path), "--to", str(target)]) == 2
    assert (
        capsys.readouterr().err
        == f"codec_lib: The card {path.with_suffix('.json')} is not that of the weights beside it.\n"
    )
    assert published.read_bytes() == before


def test_a_card_reads_back(run, no_kodak, tmp_path):
    _, card = publishing.release(run, tmp_path, progress=False)
    assert publishing.read_card(run.settings.model, "tiny", 2, tmp_path) == card


def test_the_card_tells_the_pictures_and_their_licence(run, no_kodak, tmp_path):
    _, card = publishing.release(run, tmp_path, progress=False)
    folder = Path(run.settings.dataset)
    total = hashlib.sha256()
    for k in range(2):
        total.update(f"{k}.png {hashlib.sha256((folder / f'{k}.png').read_bytes()).hexdigest()}\n".encode())
    licence = "Pictures of a folder; their owners' terms hold."
    assert card["corpus"] == {
        "name": folder.name, "sha256": total.hexdigest(), "pictures": 2, "licence": licence
    }  # fmt: skip


def test_a_named_corpus_is_known_by_its_manifest():
    manifest = datasets.ROOT / "data" / "train.csv"
    line = f"train.csv {hashlib.sha256(manifest.read_bytes()).hexdigest()}\n"
    corpus = publishing.corpus("train")
    assert corpus["sha256"] == hashlib.sha256(line.encode()).hexdigest()
    assert (corpus["name"], corpus["pictures"]) == ("train", 1277)
    assert "research" in corpus["licence"]


CARDS = sorted(weight_files.WEIGHTS.glob("*.json"))


@pytest.mark.parametrize("path", CARDS, ids=lambda path: path.stem)
def test_the_cards_at_hand_tell_what_decided_the_run(path):
    card = read_card_of(path)
    assert card["digest"] == weight_files.read(path.with_suffix(".safetensors")).digest.hex()
    for stage in (*card.get("before", []), card):
        assert {"name", "lmbda", "dataset", "seed", "steps", "device", "started_from", "digest"} <= set(stage)
        if "length" in stage:  # those made before tell less
            optional = {"epochs", "bits", "largest_scale", "lmbdas", "minutes"}
            assert set(Settings.__dataclass_fields__) - optional <= set(stage)
            assert stage["corpus"] == publishing.corpus(stage["dataset"])


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_a_card_that_cannot_be_read(tmp_path, content):
    path: Path = tmp_path / "factorized-tiny-q2.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadData, match=r"^The card .* cannot be read\.$"):
        publishing.read_card("factorized", "tiny", 2, tmp_path)


def test_files_that_share_transforms_survive_those_of_another_run(tiny_models, tmp_path):
    """Where the hyperprior is trained on, the joint model keeps the transforms that its prior knows."""

    def written(name: str, folder: str, scale: float = 1.0) -> Path:
        network = copy.deepcopy(tiny_models[name])
        network.g_a.load_state_dict({k: scale * v for k, v in tiny_models["hyperprior"].g_a.state_dict().items()})
        network.g_s.load_state_dict(tiny_models["hyperprior"].g_s.state_dict())
        frozen = freezing.freeze(network, "tiny", 0.013)
        (tmp_path / folder).mkdir(exist_ok=True)
        path = weight_files.path_of(name, "tiny", 2, tmp_path / folder)
        weight_files.save(frozen, path)
        path.with_suffix(".json").write_text(json.dumps({"digest": frozen.digest.hex()}))
        return path

    target = tmp_path / "target"
    target.mkdir()
    hyperprior, joint = (publishing.publish(written(name, "one"), target) for name in ("hyperprior", "joint"))
    small, digest = joint.stat().st_size, weight_files.read(joint).digest
    assert weight_files.dependents_of(hyperprior) == [joint]
    publishing.publish(written("hyperprior", "one"), target)
    assert joint.stat().st_size == small, "the same transforms are still shared"
    trained_on = written("hyperprior", "two", 1.5)
    assert publishing.publish(trained_on, target) == hyperprior
    assert weight_files.read(hyperprior).digest == weight_files.read(trained_on).digest
    assert weight_files.read(joint).digest == digest
    assert weight_files.dependents_of(hyperprior) == [] and joint.stat().st_size > small


@pytest.mark.parametrize("card", ["{}", "[]", "no JSON"])
def test_what_is_no_card_is_refused(run, no_kodak, tmp_path, capsys, card):
    path, _ = publishing.release(run, tmp_path, progress=False)
    path.with_suffix(".json").write_text(card)
    assert publishing.main([str(path), "--to", str(tmp_path)]) == 2
    assert SENTENCE.fullmatch(capsys.readouterr().err)
