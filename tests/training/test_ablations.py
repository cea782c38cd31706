"""The ablations: what is compared is comparable, and what was measured is not measured again."""

import shlex
from dataclasses import asdict, replace

import pytest
import torch
from commands import SENTENCE

from codec_lib import datasets, tables
from codec_lib.commands.parser import parser
from codec_lib.errors import BadData, Unsupported
from codec_lib.training import ablations, losses, training
from codec_lib.training.settings import LENGTHS, Settings


@pytest.fixture
def base(tiles) -> Settings:
    """Three steps from a random start, which takes no time."""
    small = {"preset": "tiny", "dataset": str(tiles), "batch_size": 2, "crop": 64, "steps": 3, "minutes": None}
    return replace(ablations.BASE, **small, random_start=True)


def test_two_variants_of_a_few_steps(base, tmp_path, monkeypatch):
    base = replace(base, random_start=False)
    path, runs, train = tmp_path / "table.csv", [], training.train
    monkeypatch.setattr(training, "train", lambda *a, **k: runs.append(train(*a, **k)) or runs[-1])
    threads = torch.get_num_threads()
    rows = ablations.measure(path, base, ["random"], progress=False)
    assert torch.get_num_threads() == threads
    assert [run.settings for run in runs] == [base, replace(base, random_start=True)]
    assert [row["variant"] for row in rows] == ["base", "random"]
    assert [row["steps"] for row in rows] == [3, 3]
    (held_out,) = datasets.split(datasets.open_pictures(base.dataset))[1]
    for row, run in zip(rows, runs, strict=True):
        assert row == row | losses.validate(run.average, datasets.centre_crops([held_out], 64), 0.025)
        assert row["minutes"] == run.seconds / 60
    assert rows[0]["difference"] == 0
    assert rows[1]["difference"] == pytest.approx(100 * (rows[1]["val_loss"] / rows[0]["val_loss"] - 1))
    assert rows[1]["difference"] > 10  # so few steps do not make up for a random start

    written = tables.read_csv(path)
    assert [list(row) for row in written] == [ablations.COLUMNS] * 2
    for row, kept in zip(rows, written, strict=True):
        assert {k: pytest.approx(v, abs=1e-6) if isinstance(v, float) else v for k, v in row.items()} == kept

    more = ablations.measure(path, base, ["half"], progress=False)
    assert [row["variant"] for row in more] == ["base", "random", "half"]
    assert len(runs) == 3
    assert runs[2].settings.lr == 5e-4


def test_crops_of_another_size_are_judged_by_the_same_crops(base, tmp_path, monkeypatch):
    sizes, crops = [], datasets.centre_crops
    monkeypatch.setattr(datasets, "centre_crops", lambda *a: sizes.append(a[1]) or crops(*a))
    ablations._trained(replace(base, crop=32, steps=1), base, progress=False)
    assert sizes == [32, 64]  # the run's own log, then what is compared


def test_every_variant_is_one_change_that_train_has_an_option_for():
    assert len(ablations.VARIANTS) == 12
    for name, (_, change) in ablations.VARIANTS.items():
        settings = replace(ablations.BASE, **change)
        changed = {k for k, v in asdict(settings).items() if v != asdict(ablations.BASE)[k]}
        assert changed == set(change)
        assert len(changed - {"batch_size"} or changed) == (name != "base")
        asked = parser().parse_args(["train", *shlex.split(ablations._options(settings)), "--out", "x"])
        assert Settings(**{k: v for k, v in vars(asked).items() if k in asdict(settings)}) == settings
    assert {k: v for k, v in asdict(ablations.BASE).items() if k in LENGTHS and v} == {"minutes": 3.0}
    crop = replace(ablations.BASE, **ablations.VARIANTS["crop-128"][1])
    assert crop.batch_size * crop.crop**2 == ablations.BASE.batch_size * ablations.BASE.crop**2


def test_an_interrupted_variant_leaves_those_before_it(base, tmp_path, monkeypatch):
    path, train = tmp_path / "table.csv", training.train

    def interrupted(settings, *a, **k):
        if settings.optimiser == "adam":
            raise KeyboardInterrupt("Saved at step 2; --resume goes on from there.")
        return train(settings, *a, **k)

    monkeypatch.setattr(training, "train", interrupted)
    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt, match="finished are in the table"):
        ablations.measure(path, base, ["adam"], progress=False)
    assert torch.get_num_threads() == threads
    assert [row["variant"] for row in tables.read_csv(path)] == ["base"]


def test_the_command(base, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(ablations, "BASE", replace(base, steps=None, minutes=3.0))
    path = tmp_path / "table.csv"
    assert ablations.main(["--minutes", "0.002", "--csv", str(path), "--names", "base", "--quiet"]) == 0
    (row,) = tables.read_csv(path)
    assert "--minutes 0.002" in row["options"]
    assert row["minutes"] >= 0.002
    head, _, line = capfd.readouterr().out.splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == ablations.COLUMNS[:-1]
    assert line.startswith("| base")


def test_a_table_by_other_settings_is_not_overwritten(base, tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    ablations.measure(path, base, ["base"], progress=False)
    before = path.read_bytes()
    monkeypatch.setattr(training, "train", pytest.fail)
    with pytest.raises(BadData, match="variant 'base' by other settings"):
        ablations.measure(path, replace(base, steps=4), ["base"], progress=False)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("names", "folder", "kind", "word"),
    [(["other"], "", Unsupported, "no variant 'other'"), (["adam"], "absent", BadData, "does not exist")],
)
def test_what_is_refused_before_any_work(tmp_path, monkeypatch, capfd, names, folder, kind, word):
    monkeypatch.setattr(training, "train", pytest.fail)
    path = tmp_path / folder / "table.csv"
    with pytest.raises(kind, match=word):
        ablations.measure(path, names=names)
    assert ablations.main(["--csv", str(path), "--names", *names]) == 2
    assert SENTENCE.fullmatch(capfd.readouterr().err)
