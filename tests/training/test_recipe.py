"""The recipe: what the cards tell is enough to make the same weights again, bit for bit."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from commands import SENTENCE, snapshot

from codec_lib.commands.parser import main as codec_lib_main
from codec_lib.commands.parser import parser
from codec_lib.errors import BadData, Unsupported
from codec_lib.training import publishing, recipe, training
from codec_lib.training.runs import Run
from codec_lib.training.settings import Settings, options
from codec_lib.weights import weight_files
from codec_lib.weights.cards import read_card_of

NAMES = ["factorized-tiny-q3", "hyperprior-tiny-q3", "hyperprior-tiny-q3"]


CLOCK = {"minutes", "date", "before", "loss_curve", "validation", "length"}
"""What a card tells of the clock, and `length`: the epochs of a run are repeated as steps."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory, tiles) -> list[Path]:
    """Three runs, each begun from the one before, the last with the transforms of the first; their weight files.

    Every new option is used somewhere, so that a card that lacked one could not be repeated.
    """
    shared = ["--preset", "tiny", "--lmbda", 0.025, "--dataset", tiles, "--crop", 32, "--quiet"]
    first, prior, last = (tmp_path_factory.mktemp(name) for name in ("first", "prior", "last"))
    files = [folder / f"{name}.safetensors" for folder, name in zip((first, prior, last), NAMES, strict=True)]
    runs = [
        ["--model", "factorized", "--batch-size", 2, "--steps", 4, "--last-lr", 0.5, "--precision", "bfloat16"],
        ["--model", "hyperprior", "--batch-size", 3, "--epochs", 5, "--prior-only", "--start", files[0], "--seed", 5],
        ["--model", "hyperprior", "--batch-size", 2, "--steps", 3, "--average", 0.5, "--smallest-scale", 0.9],
    ]
    runs[2] += ["--optimiser", "muon", "--lr", 5e-4, "--start", files[1], "--transforms", files[0]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publishing, "_kodak", lambda *_: None)
        for folder, run in zip((first, prior, last), runs, strict=True):
            assert codec_lib_main(["train", *map(str, [*shared, *run, "--out", folder])]) == 0
    return files


@pytest.fixture
def cards(chain, tmp_path) -> Path:
    """A folder that holds the last file of `chain` and its card, and nothing else."""
    folder = tmp_path / "weights"
    folder.mkdir()
    publishing.publish(chain[-1], folder)
    return folder


def card_of(folder: Path) -> dict:
    return json.loads((folder / f"{NAMES[-1]}.json").read_text())


def rewrite(folder: Path, card: object) -> None:
    (folder / f"{NAMES[-1]}.json").write_text(json.dumps(card))


# --- repeating ------------------------------------------------------------------------------


def test_three_runs_repeated_from_the_last_one_s_card(chain, cards, tmp_path, tiles, monkeypatch, capfd):
    """The first in a process of its own, from the state it was interrupted in; in the end there is nothing to do."""
    monkeypatch.delenv("CODECBOOK_MIRROR", raising=False)  # nothing measured on Kodak
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    out = tmp_path / "runs"
    order, _ = recipe.plan(cards)
    interrupted(order[0].settings, order[0].folder(out), monkeypatch)
    apart = recipe._run
    monkeypatch.setattr(
        recipe, "_run", lambda words, *rest: apart(words, *rest) if "factorized" in words else codec_lib_main(words[3:])
    )
    assert recipe.main(["--weights", str(cards), "--out", str(out), "--quiet"]) == 0
    said, err = capfd.readouterr()
    assert err == ""
    for k, (stage, original) in enumerate(zip(order, chain, strict=True)):
        made, wanted = weight_files.read(stage.weights(out)), weight_files.read(original)
        assert made.tensors.keys() == wanted.tensors.keys()
        assert all(torch.equal(tensor, wanted.tensors[name]) for name, tensor in made.tensors.items())
        assert made.digest == wanted.digest
        assert f"run {k + 1} of 3, {stage.key}: the same weights, bit for bit\n" in said
        again, card = (read_card_of(path) for path in (stage.weights(out), original))
        told = [{k: v for k, v in c.items() if k not in CLOCK} for c in (again, card)]
        assert told[0] == told[1]
        assert [row["val_loss"] for row in again["loss_curve"]] == [row["val_loss"] for row in card["loss_curve"]]
    assert sorted(p.name for p in out.iterdir()) == sorted(f"{s.name}-{s.digest[:8]}" for s in order)

    monkeypatch.setattr(subprocess, "Popen", pytest.fail)
    before = snapshot(out)
    assert recipe.main(["--weights", str(cards), "--out", str(out)]) == 0
    assert snapshot(out) == before
    assert recipe.main(["--weights", str(cards), "--out", str(out), "--list"]) == 0
    assert capfd.readouterr().out.count("; finished\n") == 3


def interrupted(settings: Settings, out: Path, monkeypatch) -> None:
    """Leave the checkpoint of a run that had Ctrl-C in its second step."""
    update = Run.update_average

    def press(run):
        if run.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        update(run)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "update_average", press)
        with pytest.raises(KeyboardInterrupt, match="step 2"):
            training.train(settings, out, progress=False)


def test_the_time_is_up_before_it_began(cards, tmp_path, capsys):
    options = ["--weights", str(cards), "--out", str(tmp_path / "runs"), "--minutes", "0"]
    assert recipe.main(options) == 0
    assert "the time is up in run 1 of 3" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


CHILD = """
import signal, sys, time
print("ready", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    print("saved", flush=True)
    sys.exit(130)
"""


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN], ids=["terminal", "background"])
def test_a_run_that_has_no_time_left_is_told_so_and_can_save(capfd, handler):
    before, begin = signal.signal(signal.SIGINT, handler), time.monotonic()
    try:
        assert recipe._run([sys.executable, "-c", CHILD], os.environ, 3) is None
    finally:
        signal.signal(signal.SIGINT, before)
    assert 3 <= time.monotonic() - begin < 50
    assert capfd.readouterr().out == "ready\nsaved\n"


def test_a_run_that_fails_when_its_time_is_up_has_failed():
    failing = CHILD.replace("130", "2")
    assert recipe._run([sys.executable, "-c", failing], os.environ, 3) == 2


def test_torchrun_ends_with_another_status_when_its_time_is_up():
    assert recipe._run([sys.executable, "-c", CHILD.replace("130", "1")], os.environ, 3) is None


def test_a_run_that_fails_ends_the_recipe(cards, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(recipe, "command", lambda *_: ["-c", "import sys; sys.exit(2)"])
    assert recipe.main(["--weights", str(cards), "--out", str(tmp_path)]) == 2
    assert "run 1 of 3, factorized-tiny-q3" in (err := capfd.readouterr().err)
    assert err.endswith("failed with exit status 2; the reason is given above.\n")


# --- the order and its commands -------------------------------------------------------------


def test_the_list_holds_the_commands_of_the_runs(chain, cards, tmp_path, tiles, capsys):
    assert recipe.main(["--weights", str(cards), "--out", "some runs", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    threads = f"OMP_NUM_THREADS={torch.get_num_threads()}"
    digests = [read_card_of(path)["digest"] for path in chain]
    folders = [f"some runs/{name}-{digest[:8]}" for name, digest in zip(NAMES, digests, strict=True)]
    files = [f"{folder}/{name}.safetensors" for folder, name in zip(folders, NAMES, strict=True)]
    assert [line.split(":")[0] for line in lines[::2]] == [
        f"# {name} {digest[:16]}" for name, digest in zip(NAMES, digests, strict=True)
    ]
    asked = []
    for line in lines[1::2]:
        first, python, m, package, *words = shlex.split(line)
        assert (first, python, m, package) == (threads, "python", "-m", "codec_lib")
        asked.append(parser().parse_args(words))
    assert [(str(a.out), a.steps, a.batch_size) for a in asked] == [
        (folders[0], 4, 2), (folders[1], 3, 3), (folders[2], 3, 2)
    ]  # fmt: skip
    assert [str(a.start) for a in asked] == ["None", *files[:2]]
    assert [str(a.transforms) for a in asked] == ["None", "None", files[0]]
    assert asked[0].precision == "bfloat16"
    assert [a.seed for a in asked] == [0, 5, 0]
    assert [a.prior_only for a in asked] == [False, True, False]
    assert [a.last_lr for a in asked] == [0.5, 0.01, 0.01]
    assert asked[2].average == 0.5
    assert asked[2].smallest_scale == 0.9
    assert all(a.dataset == str(tiles) for a in asked)


EXAMPLES = [
    Settings("joint", 0.0067, minutes=7.5),
    Settings(
        "hyperprior", 0.013, "paper", "a folder", 12, None, None, 3, 64, 5e-4, 9, "bfloat16", True, 0.5, True,
        optimiser="muon", last_lr=0.0, smallest_scale=1.0, largest_scale=2.0, random_start=True,
    ),
    Settings("ae-resnet18", 0.013, epochs=2, bits=10, straight_through=True),
]  # fmt: skip


@pytest.mark.parametrize("settings", EXAMPLES, ids=lambda s: s.model)
def test_options_give_the_settings(settings):
    asked = parser().parse_args(["train", *options(settings), "--out", "x"])
    assert Settings(**{k: v for k, v in vars(asked).items() if k in Settings.__dataclass_fields__}) == settings


def test_the_options_of_train_have_the_defaults_of_the_settings():
    asked = parser().parse_args(["train", "--model", "joint", "--lmbda", "0.013", "--out", "x"])
    assert Settings(**{k: v for k, v in vars(asked).items() if k in Settings.__dataclass_fields__}) == Settings(
        "joint", 0.013
    )


def old_stage(**changes) -> dict:
    """As in the cards of before: no model, preset or optimiser."""
    known = {
        "name": "factorized-compact-q1", "lmbda": 0.0067, "dataset": "train", "batch_size": 16, "crop": 128,
        "lr": 5e-4, "seed": 0, "average": 0.998, "bits": None, "steps": 1179, "minutes": 22.0,
        "precision": "bfloat16", "device": "CPU, 1 threads, x86_64", "started_from": None, "digest": "118a1d10" * 8,
    }  # fmt: skip
    return known | changes


def test_a_card_of_old_is_one_of_the_defaults():
    stage = recipe.stage_of(old_stage())
    assert stage.settings == Settings(
        "factorized", 0.0067, steps=1179, lr=5e-4, precision="bfloat16", optimiser="adam", last_lr=0.01
    )
    assert (stage.threads, stage.processes, stage.corpus, stage.exact) == (1, 1, None, False)
    assert stage.key == "factorized-compact-q1 118a1d10118a1d10"


def test_a_run_for_every_rate_is_told_by_its_range():
    stage = recipe.stage_of(old_stage(name="space-channel-compact", lmbda=0.018, lmbdas=[0.0035, 0.093]))
    assert (stage.settings.model, stage.settings.preset) == ("space-channel", "compact")
    given = options(stage.settings)
    assert "--lmbda" not in given and given[given.index("--lmbdas") :][1:3] == ["0.0035", "0.093"]


@pytest.mark.parametrize(
    ("origin", "at_random", "origins"),
    [
        (None, True, {}),
        ("microsoft/resnet-18", False, {}),
        ("ae-resnet18-compact-q2 00", False, {"start": "ae-resnet18-compact-q2 00"}),
    ],
)
def test_a_resnet_that_found_no_pretrained_weights_does_not_look_for_them_again(origin, at_random, origins):
    stage = recipe.stage_of(old_stage(name="ae-resnet18-compact-q4", bits=4, started_from=origin))
    assert (stage.settings.random_start, stage.origins) == (at_random, origins)


def test_several_processes_and_a_graphics_card(tmp_path):
    stage = recipe.stage_of(old_stage(device="NVIDIA H100", processes=4))
    assert stage.threads is None
    words = recipe.command(stage, {}, tmp_path)
    assert words[:6] == ["-m", "torch.distributed.run", "--nproc_per_node=4", "-m", "--", "codec_lib"]


def test_each_run_comes_once_and_after_those_it_begins_from():
    def run(name, origin=None, transforms=None, before=()):
        made = old_stage(name=f"{name}-compact-q1", digest=16 * name[0], started_from=origin and key(origin))
        return made | {"transforms": transforms and key(transforms), "before": list(before)}

    def key(name):
        return f"{name}-compact-q1 {16 * name[0]}"

    f, h = run("factorized"), run("hyperprior", "factorized")
    j, c = run("joint", "hyperprior", before=[h]), run("checkerboard", "joint", "hyperprior", before=[h])
    stages = recipe.stages_of([c, f, h, j])
    order = recipe.in_order(stages, [key("checkerboard"), key("factorized")])
    assert [stage.name[0] for stage in order] == ["f", "h", "j", "c"]
    assert [stage.name[0] for stage in recipe.in_order(stages, [key("hyperprior")])] == ["f", "h"]
    with pytest.raises(BadData, match=r"joint-compact-q1 jjjjjjjjjjjjjjjj cannot be made again: .*, which they began"):
        recipe.in_order(recipe.stages_of([f, run("joint", "hyperprior")]), [key("joint")])
    with pytest.raises(BadData, match="began from themselves"):
        recipe.in_order(recipe.stages_of([run("joint", "joint")]), [key("joint")])
    with pytest.raises(BadData, match=r"Two cards disagree on how .* factorized-compact-q1 ffffffff"):
        recipe.stages_of([f, f | {"seed": 3}])
    again = f | {"minutes": 9.0, "length": "steps", "corpus": {"sha256": "0"}, "device": "CPU, 2 threads, x86_64"}
    assert len(recipe.stages_of([f, again])) == 1, "the same run, told again"


def test_every_committed_weight_file_has_a_recipe(capsys):
    names = {path.stem for path in weight_files.WEIGHTS.glob("*.safetensors")}
    order, stages = recipe.plan(weight_files.WEIGHTS)
    assert names <= {stage.name for stage in order}
    done = set()
    for stage in order:
        assert set(stage.origins.values()) <= done
        done.add(stage.key)
    for name in names:
        (*_, last), _ = recipe.plan(weight_files.WEIGHTS, [name])
        assert last.name == name
        assert last.digest == weight_files.read(weight_files.WEIGHTS / f"{name}.safetensors").digest.hex()
    assert recipe.main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 * len(stages) == 2 * len(order)


# --- what is refused ------------------------------------------------------------------------


def without(card: dict, name: str) -> dict:
    return {k: v for k, v in card.items() if k != name}


BAD = {
    "an origin unknown": (lambda c: c | {"before": c["before"][1:]}, "no card tells of factorized-tiny-q3"),
    "transforms unknown": (lambda c: c | {"transforms": "joint-tiny-q3 0123"}, "no card tells of joint-tiny-q3 0123"),
    "no steps": (lambda c: without(c, "steps"), "hyperprior-tiny-q3 does not say how it was made"),
    "no digest": (lambda c: without(c, "digest"), "does not say how it was made"),
    "no name": (lambda c: without(c, "name"), "The card of a run does not say"),
    "no card": (lambda _: [], "cannot be read"),
    "other pictures": (
        lambda c: c | {"before": [s | {"corpus": s["corpus"] | {"sha256": "0"}} for s in c["before"]]},
        "are no longer those that factorized-tiny-q3",
    ),
    "no pictures": (
        lambda c: c | {"before": [s | {"dataset": "/nowhere"} for s in c["before"]]},
        "no data set or folder '/nowhere'",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_card_that_cannot_be_repeated_costs_one_sentence(cards, tmp_path, case, capfd, monkeypatch):
    change, word = BAD[case]
    rewrite(cards, change(card_of(cards)))
    monkeypatch.setattr(subprocess, "Popen", pytest.fail)
    assert recipe.main(["--weights", str(cards), "--out", str(tmp_path / "runs")]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert SENTENCE.fullmatch(err), err
    assert word in err
    assert not (tmp_path / "runs").exists()


def test_a_name_that_no_card_has(cards, tmp_path, capfd):
    assert recipe.main(["--weights", str(cards), "--names", "joint-tiny-q3", "--list"]) == 2
    assert "There is no card joint-tiny-q3" in (err := capfd.readouterr().err)
    assert err.endswith("there are: hyperprior-tiny-q3.\n")
    with pytest.raises(Unsupported, match=r"there are: none\.$"):
        recipe.plan(tmp_path, ["joint-tiny-q3"])
    with pytest.raises(BadData, match="There is no card in"):
        recipe.plan(tmp_path)
