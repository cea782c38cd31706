"""Training: the loss falls, an interrupted run ends as one that was not, two processes are one."""

import errno
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from codec_lib import datasets, files, tables
from codec_lib.errors import BadData, CodecError, Unsupported
from codec_lib.networks import models
from codec_lib.networks.priors import factorized
from codec_lib.places import ROOT
from codec_lib.training import checkpoints, initialisation, losses, runs, training
from codec_lib.training.checkpoints import CHECKPOINT
from codec_lib.training.runs import Run, Settings
from codec_lib.training.training import LOG, train
from codec_lib.weights import weight_files

COLUMNS = ["step", "minutes", "loss", "bpp", "psnr", "val_loss", "val_bpp", "val_psnr"]


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small run fastest on one thread, and the other processes of these tests have none to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, photo) -> Path:
    """Four pictures, so three to train on and one to validate with."""
    folder = tmp_path_factory.mktemp("pictures")
    turned = [photo, photo[::-1], photo[:, ::-1], 255 - photo]
    for k, pixels in enumerate(turned):
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{k}.png")
    return folder


@pytest.fixture
def random_start(monkeypatch):
    """No KLT and no fit of the densities before the first step: faster, and there is more to learn."""
    monkeypatch.setattr(initialisation, "initialise", lambda *_: None)


@pytest.fixture
def settings(folder):
    def make(**changes) -> Settings:
        small = {
            "model": "factorized", "lmbda": 0.025, "preset": "tiny", "dataset": str(folder), "steps": 6,
            "batch_size": 2, "crop": 32, "precision": "float32",
        }  # fmt: skip
        return Settings(**small | changes)

    return make


def go(settings: Settings, out: Path, **options) -> Run:
    return train(settings, out, progress=False, **options)


def assert_is_a_sentence(error: pytest.ExceptionInfo):
    message = str(error.value)
    assert message[0].isupper() or message.startswith("/"), message
    assert message.endswith(".") and "\n" not in message


def checkpoint(out: Path) -> dict:
    return checkpoints.read(out / CHECKPOINT)


def without_clock(state):
    """A checkpoint less what depends on how fast the machine was."""
    if not isinstance(state, dict):
        return [without_clock(v) for v in state] if isinstance(state, list | tuple) else state
    return {k: without_clock(v) for k, v in state.items() if k not in ("seconds", "minutes")}


def identical(a, b) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(identical(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(identical, a, b))
    return a == b


def assert_same_run(a: Path, b: Path):
    a, b = (without_clock(checkpoint(out)) for out in (a, b))
    assert a.keys() == b.keys()
    for part in a:
        assert identical(a[part], b[part]), part


def at_step(monkeypatch, step: int, do) -> None:
    """Call `do` in the middle of a step: its gradient is applied, the running average is not yet."""
    update = Run.update_average

    def interrupted(run):
        if run.step == step:
            do()
        update(run)

    monkeypatch.setattr(Run, "update_average", interrupted)


def press_control_c():
    os.kill(os.getpid(), signal.SIGINT)


def fail(*_):
    raise RuntimeError("a crash")


# --- learning -------------------------------------------------------------------------------


def test_the_loss_falls(settings, random_start, tmp_path):
    run = go(settings(steps=60, batch_size=4, lr=4e-3), tmp_path / "run")
    assert run.step == 60
    assert run.rows[-1]["val_loss"] < 0.5 * run.rows[0]["val_loss"]
    assert np.mean([r["loss"] for r in run.rows[-5:]]) < 0.5 * np.mean([r["loss"] for r in run.rows[:5]])


def test_the_log_has_a_row_per_validation(settings, random_start, tmp_path):
    watched = []
    run = go(settings(steps=40), tmp_path, watch=lambda rows: watched.append(len(rows)))
    assert watched == list(range(1, 21))
    rows = tables.read_csv(tmp_path / LOG)
    assert list(rows[0]) == COLUMNS
    assert [row["step"] for row in rows] == list(range(2, 41, 2))  # twenty, evenly spaced, the last step among them
    for logged, kept in zip(rows, run.rows, strict=True):
        assert logged == pytest.approx(kept, abs=1e-6)
        assert logged["val_loss"] == pytest.approx(
            0.025 * 255**2 * 10 ** (-logged["val_psnr"] / 10) + logged["val_bpp"]
        )


def test_a_start_near_the_klt_beats_a_random_one(settings, tmp_path, monkeypatch):
    fitted = go(settings(steps=1), tmp_path / "fitted")
    monkeypatch.setattr(initialisation, "initialise", lambda *_: None)
    random = go(settings(steps=1), tmp_path / "random")
    assert fitted.rows[0]["val_loss"] < 0.5 * random.rows[0]["val_loss"]


def test_a_random_start_is_torch_s(settings, tmp_path):
    run = go(settings(steps=1, lr=1e-12, random_start=True), tmp_path)
    torch.manual_seed(0)
    for name, value in models.make("factorized", "tiny", 0.025).state_dict().items():
        torch.testing.assert_close(run.model.state_dict()[name], value, rtol=0, atol=1e-6)


def test_a_random_start_is_no_start_from_weights(settings, tiny_codecs, tmp_path):
    with pytest.raises(Unsupported, match="leave --random-start out") as error:
        go(settings(random_start=True), tmp_path / "out", source=tiny_codecs[0])
    assert_is_a_sentence(error)
    assert not (tmp_path / "out").exists()


def test_without_an_average_the_last_weights_are_kept(settings, random_start, tmp_path):
    run = go(settings(average=0.0), tmp_path)
    assert identical(run.average.state_dict(), run.model.state_dict())


def test_the_scales_reach_the_crops(settings, random_start, tmp_path, monkeypatch):
    made, crops = [], datasets.RandomCrops
    monkeypatch.setattr(datasets, "RandomCrops", lambda *a: made.append(crops(*a)) or made[-1])
    go(settings(steps=1, smallest_scale=0.75, largest_scale=1.5), tmp_path)
    assert [one.scales for one in made] == [(0.75, 1.5)]


def test_the_seed_decides_the_weights(settings, random_start, tmp_path):
    with_seed = {}
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.manual_seed(len(with_seed))  # what was drawn before must not matter
        go(settings(steps=1, seed=seed), tmp_path / name)
        with_seed[name] = checkpoint(tmp_path / name)["model"]
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert not identical(with_seed["a"], with_seed["c"])


def test_a_codec_can_be_the_start(settings, random_start, tiny_codecs, tmp_path):
    source = tiny_codecs[0]
    run = go(settings(steps=1, lr=1e-12, average=0.0), tmp_path, source=source)
    carried = models.make("factorized", "tiny", 0.025)
    initialisation.carry_over(carried, source.network, 0.025, source.lmbda)
    for name, value in carried.state_dict().items():
        torch.testing.assert_close(run.model.state_dict()[name], value, rtol=0, atol=1e-6)
    assert run.started_from == f"factorized-tiny-q1 {source.digest[:8].hex()}"
    assert checkpoint(tmp_path)["started_from"] == run.started_from


# --- the prior alone ------------------------------------------------------------------------


def test_training_the_prior_alone_leaves_the_transforms_as_they_are(settings, tiny_codecs, tmp_path):
    source = tiny_codecs[0]
    run = go(settings(model="joint", prior_only=True), tmp_path, source=source)
    carried = models.make("joint", "tiny", 0.025)
    initialisation.carry_over(carried, source.network, 0.025, source.lmbda, torch.rand(2, 3, 32, 32))
    for model in (run.model, run.average):
        for part in ("g_a", "g_s"):
            assert identical(getattr(model, part).state_dict(), getattr(carried, part).state_dict())
    learned = [p for name, p in run.model.named_parameters() if not name.startswith(("g_a", "g_s"))]
    assert {p for group in run.optimiser.param_groups for p in group["params"]} == set(learned)


def test_a_prior_learns(settings, random_start, tmp_path):
    run = go(settings(model="hyperprior", prior_only=True, steps=40, lr=4e-3), tmp_path)
    assert run.rows[-1]["val_bpp"] < 0.9 * run.rows[0]["val_bpp"]


def test_a_prior_resumes_exactly(settings, random_start, tmp_path, monkeypatch):
    go(settings(model="joint", prior_only=True), tmp_path / "straight")
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        at_step(patch, 3, press_control_c)
        with pytest.raises(KeyboardInterrupt, match="step 3"):
            go(settings(model="joint", prior_only=True), out)
    with pytest.raises(BadData, match="another prior_only"):
        go(settings(model="joint"), out, resume=True)
    go(settings(model="joint", prior_only=True), out, resume=True)
    assert_same_run(tmp_path / "straight", out)


# --- precision ------------------------------------------------------------------------------


def test_bfloat16_trains_and_validates_in_float32(settings, random_start, tmp_path):
    half = go(settings(precision="bfloat16"), tmp_path / "bfloat16")
    assert half.dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in half.model.parameters())
    single = go(settings(), tmp_path / "float32")
    assert not identical(half.model.state_dict(), single.model.state_dict())
    held_out = datasets.split(datasets.open_pictures(half.settings.dataset))[1]
    fixed = datasets.centre_crops(held_out, 32)
    in_single = losses.validate(half.average, fixed, 0.025)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        in_half = losses.validate(half.average, fixed, 0.025)
    assert half.rows[-1] == half.rows[-1] | in_single
    assert in_half != in_single


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_measuring_the_precision_draws_no_random_number(monkeypatch, dtype):
    clock = iter(range(0, 10**6) if dtype == torch.float32 else [k**2 for k in range(100, 0, -1)])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    before = torch.get_rng_state()
    assert runs.faster_dtype(torch.device("cpu")) == dtype
    assert torch.equal(torch.get_rng_state(), before)


def test_training_in_another_thread(settings, random_start, tmp_path):
    thread = threading.Thread(target=go, args=(settings(steps=1), tmp_path))
    thread.start()
    thread.join()
    assert checkpoint(tmp_path)["step"] == 1


def test_a_diverging_run_stops_with_a_sentence(settings, random_start, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SAVE_EVERY", -1)
    with pytest.raises(CodecError, match="diverged") as error:
        go(settings(steps=30, lr=1e9), tmp_path)
    assert_is_a_sentence(error)
    saved = checkpoint(tmp_path)["rows"] if (tmp_path / CHECKPOINT).exists() else []
    assert all(math.isfinite(row["loss"]) for row in saved)


def test_a_run_that_diverges_at_its_end_is_not_kept(settings, random_start, tmp_path):
    """Between validations every tenth loss is looked at, and the last."""
    with pytest.raises(CodecError, match="diverged"):
        go(settings(steps=4, lr=1e9), tmp_path, validations=0)
    assert not (tmp_path / CHECKPOINT).exists()


# --- parts ----------------------------------------------------------------------------------


def test_the_learning_rate_rises_then_falls_to_a_hundredth():
    rate = training.learning_rate
    assert rate(0.0) == rate(0.0001) == 0.01
    assert rate(0.015) == pytest.approx(0.5)
    assert rate(0.03) == pytest.approx(1.0)
    assert rate(0.515) == pytest.approx(0.505)
    assert rate(1.0) == pytest.approx(0.01)
    falling = [rate(k / 100) for k in range(3, 101)]
    assert falling == sorted(falling, reverse=True)


def test_the_learning_rate_can_stay_or_fall_to_nothing(settings, tmp_path, monkeypatch):
    assert {training.learning_rate(k / 100, last=1.0) for k in range(3, 101)} == {1.0}
    assert training.learning_rate(1.0, last=0.0) == 0.0
    seen = []
    monkeypatch.setattr(Run, "update_average", lambda run: seen.append(run.optimiser.param_groups[0]["lr"]))
    go(settings(last_lr=1.0, random_start=True), tmp_path)
    assert seen == [1e-5, *[1e-3] * 5]


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_every_parameter_is_in_one_group(preset):
    model = models.make("factorized", preset, 0.0067)
    groups = runs.parameter_groups(model, 1e-3)
    numbers = [id(p) for group in groups for p in group["params"]]
    assert len(set(numbers)) == len(numbers)
    assert set(numbers) == {id(p) for p in model.parameters()}
    peaks = {p: group["peak"] for group in groups for p in group["params"]}
    assert {peaks[p] for p in model.density_y.parameters()} == {1e-2}
    assert peaks[next(model.g_a.parameters())] == 1e-3
    if preset == "paper":  # y counts quantiser steps, so kernels at both sides of it have other sizes than the rest
        assert peaks[model.g_a[-1].weight] == pytest.approx(3e-3)
        assert peaks[model.g_s[0].weight] == pytest.approx(2e-4)
        assert {peaks[p] for p in [*model.g_a[1].parameters(), *model.g_s[1].parameters()]} == {3e-3}


@pytest.mark.parametrize(("step", "decay"), [(1, 2 / 11), (8, 0.5), (10**6, 0.998)])
def test_the_running_average(settings, step, decay):
    run = Run(settings(), models.make("factorized", "tiny", 0.025), torch.device("cpu"))
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.add_(torch.randn_like(parameter))
    current = [p.clone() for p in run.model.parameters()]
    expected = [decay * a + (1 - decay) * p for a, p in zip(run.average.parameters(), current, strict=True)]
    run.step = step
    run.update_average()
    for a, e in zip(run.average.parameters(), expected, strict=True):
        torch.testing.assert_close(a.detach(), e.detach())
    assert identical([p.detach() for p in run.model.parameters()], [p.detach() for p in current])
    assert not any(p.requires_grad for p in run.average.parameters())


def test_crop_numbers_of_two_ranks_are_those_of_one_with_twice_the_batch():
    def first(sampler, n=5):
        return [batch for batch, _ in zip(sampler, range(n), strict=False)]

    alone = first(training._numbers(0, 6, 0, 1))
    ranks = [first(training._numbers(0, 3, rank, 2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*ranks, strict=True)] == alone
    assert [number for batch in alone for number in batch] == list(range(30))
    assert first(training._numbers(2, 3, 1, 2), 3) == ranks[1][2:]  # from a later step on


def test_batches_are_the_crops_of_their_numbers(folder):
    crops = datasets.RandomCrops(datasets.open_pictures(folder), 32, seed=5, progress=False)
    with training._batches(crops, training._numbers(2, 3, 1, 2)) as batches:
        got = [next(batches) for _ in range(2)]
    expected = [torch.stack([crops[i] for i in range(first, first + 3)]) for first in (15, 21)]
    assert identical(got, expected)
    assert got[0].dtype == torch.uint8
    assert multiprocessing.active_children() == []


def test_the_number_of_worker_processes_changes_nothing(settings, random_start, tmp_path, monkeypatch):
    for cores in (1, 6):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, n=cores: set(range(n)))
        go(settings(), tmp_path / str(cores))
    assert_same_run(tmp_path / "1", tmp_path / "6")


# --- interruption and resume ----------------------------------------------------------------


def test_control_c_finishes_the_step_and_resume_goes_on_exactly(settings, random_start, tmp_path, monkeypatch):
    go(settings(), tmp_path / "straight")
    out = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        at_step(patch, 3, press_control_c)
        with pytest.raises(KeyboardInterrupt, match="step 3") as interrupt:
            go(settings(), out)
    assert multiprocessing.active_children() == []  # though the traceback still holds the loop
    del interrupt
    assert checkpoint(out)["step"] == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    torch.manual_seed(99)
    run = go(settings(), out, resume=True)
    assert run.step == 6
    assert_same_run(tmp_path / "straight", out)
    logs = [tables.read_csv(folder / LOG) for folder in (tmp_path / "straight", out)]
    assert without_clock(logs[0]) == without_clock(logs[1])


def test_a_second_control_c_stops_at_once(settings, random_start, tmp_path, monkeypatch):
    def twice():
        press_control_c()
        press_control_c()

    at_step(monkeypatch, 3, twice)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        go(settings(), tmp_path)
    assert str(interrupt.value) == ""
    assert not (tmp_path / CHECKPOINT).exists()
    assert multiprocessing.active_children() == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_ignored_control_c_stays_ignored(settings, random_start, tmp_path, monkeypatch):
    at_step(monkeypatch, 1, press_control_c)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as for a job in the background
    try:
        assert go(settings(steps=2), tmp_path).step == 2
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_crash_resumes_from_the_last_checkpoint_exactly(settings, random_start, tmp_path, monkeypatch):
    go(settings(precision="bfloat16"), tmp_path / "straight")
    out = tmp_path / "crashed"
    with monkeypatch.context() as patch:
        patch.setattr(training, "SAVE_EVERY", -1)
        at_step(patch, 5, fail)
        with pytest.raises(RuntimeError, match="a crash"):
            go(settings(precision="bfloat16"), out)
    assert multiprocessing.active_children() == []
    assert checkpoint(out)["step"] == 4
    go(settings(precision="bfloat16"), out, resume=True)
    assert_same_run(tmp_path / "straight", out)


def test_a_finished_run_can_be_made_longer(settings, random_start, tmp_path):
    go(settings(steps=3), tmp_path)
    assert go(settings(steps=3), tmp_path, resume=True).step == 3  # nothing left to do
    run = go(settings(steps=None, epochs=4), tmp_path, resume=True)
    assert run.step == 6
    assert [row["step"] for row in run.rows] == [1, 2, 3, 4, 5, 6]


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory) -> Path:
    """A run of one step; do not write into it."""
    out = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(initialisation, "initialise", lambda *_: None)
        go(Settings("factorized", 0.025, "tiny", str(folder), 1, batch_size=2, crop=32, precision="float32"), out)
    return out


@pytest.mark.parametrize(
    ("change", "was"),
    [
        ({"lmbda": 0.013}, "0.025"), ({"batch_size": 3}, "2"), ({"crop": 64}, "32"), ({"lr": 1e-4}, "0.001"),
        ({"seed": 1}, "0"), ({"precision": "bfloat16"}, "float32"), ({"dataset": "embedded"}, ""),
        ({"preset": "compact"}, "tiny"), ({"last_lr": 1.0}, "0.01"), ({"average": 0.5}, "0.998"),
        ({"smallest_scale": 1.0}, "0.5"), ({"largest_scale": 2.0}, "1.0"), ({"random_start": True}, "False"),
    ],
)  # fmt: skip
def test_resume_refuses_other_settings(settings, finished, change, was):
    before = (finished / CHECKPOINT).read_bytes()
    with pytest.raises(BadData, match=f"another {next(iter(change))}") as error:
        go(settings(**change), finished, resume=True)
    assert_is_a_sentence(error)
    assert was in str(error.value)
    assert (finished / CHECKPOINT).read_bytes() == before


def test_resume_needs_a_checkpoint(settings, tmp_path):
    with pytest.raises(BadData, match="no checkpoint") as error:
        go(settings(), tmp_path / "absent", resume=True)
    assert_is_a_sentence(error)
    assert not (tmp_path / "absent").exists()


def flip_a_weight(data: bytes) -> bytes:
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda d: b"", lambda d: b"\0" * len(d), lambda d: d[:100], lambda d: d[: len(d) // 2], lambda d: d[:-1],
     flip_a_weight, lambda d: d[-100:]],
    ids=["empty", "zeros", "its start", "its half", "all but a byte", "a flipped bit", "its end"],
)  # fmt: skip
def test_a_damaged_checkpoint_is_refused(settings, finished, tmp_path, damage):
    damaged = damage((finished / CHECKPOINT).read_bytes())
    (tmp_path / CHECKPOINT).write_bytes(damaged)
    with pytest.raises(BadData, match="cannot be read") as error:
        go(settings(), tmp_path, resume=True)
    assert_is_a_sentence(error)
    assert (tmp_path / CHECKPOINT).read_bytes() == damaged


@pytest.mark.parametrize("without", ["settings", "model", "optimiser", "step", "dtype"])
def test_a_checkpoint_of_another_version_is_refused(settings, finished, tmp_path, without):
    state = checkpoint(finished)
    del state[without]
    checkpoints.write(tmp_path / CHECKPOINT, state)
    with pytest.raises(BadData, match="another version") as error:
        go(settings(), tmp_path, resume=True)
    assert_is_a_sentence(error)


def test_an_earlier_run_is_not_overwritten(settings, finished):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    with pytest.raises(BadData, match="--resume") as error:
        go(settings(), finished)
    assert_is_a_sentence(error)
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def test_a_full_disk_leaves_the_last_checkpoint(settings, random_start, tmp_path, monkeypatch):
    go(settings(steps=1), tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(BadData, match="No space left") as error:
        go(settings(steps=2), tmp_path, resume=True)
    assert_is_a_sentence(error)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CHECKPOINT, LOG]
    assert (tmp_path / CHECKPOINT).read_bytes() == before


# --- what is refused ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        ({"steps": 7}, 7), ({"minutes": 0.5}, None), ({"epochs": 4}, 6), ({"epochs": 1, "batch_size": 50}, 1),
    ],
)  # fmt: skip
def test_the_length_of_a_run(settings, length, expected):
    assert training._steps(settings(**{"steps": None} | length), pictures=3, world=1) == expected


def test_an_epoch_is_shared_by_the_processes(settings):
    assert training._steps(settings(steps=None, epochs=10), pictures=12, world=3) == 20


def test_a_run_by_the_clock(settings, random_start, tmp_path):
    run = go(settings(steps=None, minutes=0.3 / 60), tmp_path)
    assert run.seconds >= 0.3
    assert run.step > 0
    assert run.rows[-1]["step"] == run.step


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"steps": None}, "exactly one"), ({"minutes": 1.0}, "exactly one"), ({"epochs": 1}, "exactly one"),
        ({"steps": 0}, "above zero"), ({"steps": -3}, "above zero"),
        ({"steps": None, "epochs": 0}, "above zero"), ({"steps": None, "minutes": -1.0}, "above zero"),
        ({"steps": None, "minutes": math.nan}, "above zero"), ({"steps": None, "minutes": math.inf}, "above zero"),
        ({"batch_size": 0}, "batch size"), ({"lr": 0.0}, "lr"), ({"lr": math.nan}, "lr"), ({"lr": math.inf}, "lr"),
        ({"lmbda": -1.0}, "lmbda"), ({"lmbda": math.nan}, "lmbda"),
        ({"crop": 0}, "crop"), ({"crop": -32}, "crop"), ({"crop": 40}, "multiple of 16"),
        ({"seed": -1}, "seed"), ({"seed": 2**31}, "seed"), ({"seed": 2**64}, "seed"),
        ({"precision": "float8"}, "precision"), ({"model": "jpeg"}, "no model"), ({"preset": "huge"}, "no preset"),
        ({"dataset": "kodak"}, "testing only"),
        ({"last_lr": -0.1}, "last learning rate"), ({"last_lr": 1.5}, "share of the highest"),
        ({"last_lr": math.nan}, "0 to 1"), ({"average": 1.0}, "below 1"), ({"average": -0.1}, "average"),
        ({"smallest_scale": 0.0}, "above 0"), ({"smallest_scale": 1.1}, "at most the largest"),
        ({"largest_scale": math.inf}, "at most the largest"),
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(settings, tmp_path, change, word):
    with pytest.raises(Unsupported, match=word) as error:
        go(settings(**change), tmp_path / "out")
    assert_is_a_sentence(error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "word"), [(None, "no data set or folder"), ({}, "holds no pictures"), ({"a.png": b"text"}, "None of")]
)
def test_a_folder_without_pictures_is_refused(settings, tmp_path, content, word):
    folder = tmp_path / "pictures"
    if content is not None:
        folder.mkdir()
        for name, data in content.items():
            (folder / name).write_bytes(data)
    with pytest.raises(BadData, match=word) as error:
        go(settings(dataset=str(folder)), tmp_path / "out")
    assert_is_a_sentence(error)
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_cannot_be_is_refused(settings, random_start, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(BadData, match="Cannot create") as error:
        go(settings(), tmp_path / "file" / "run")
    assert_is_a_sentence(error)


# --- two processes --------------------------------------------------------------------------

SCRIPT = """
import sys
from pathlib import Path
import torch
from codec_lib.commands.parser import main
from codec_lib.networks.priors import factorized
from codec_lib.training import initialisation, training

torch.set_num_threads(1)
initialisation.initialise = lambda *_: None
assert callable(factorized.add_noise)
factorized.add_noise = lambda y: y  # each rank draws its own, which a single process cannot repeat
runs, train = [], training.train
training.train = lambda *a, **k: runs.append(train(*a, **k)) or runs[-1]
dataset, out = sys.argv[1:]
options = "--lmbda 0.025 --preset tiny --steps 1 --batch-size 2 --crop 32 --precision float32 --quiet"
status = main(["train", "--model", "factorized", *options.split(), "--dataset", dataset, "--out", out])
(run,) = runs
state = {"model": run.model.state_dict(), "average": run.average.state_dict(), "optimiser": run.optimiser.state_dict()}
torch.save(state, Path(out) / f"rank{run.rank}.pt")
sys.exit(status)
"""


def torchrun(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += map(str, arguments)
    loopback = {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | loopback, capture_output=True, text=True, timeout=300, check=False
    )


def gradient(state: dict) -> Tensor:
    """The clipped gradient of the only step, from Adam's first moment, 0.1 of it."""
    return torch.cat([moments["exp_avg"].flatten() for _, moments in sorted(state["state"].items())]) * 10


def test_two_processes_average_their_gradients(settings, random_start, tmp_path, monkeypatch):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    monkeypatch.delenv("CODECBOOK_MIRROR", raising=False)  # no Kodak to measure the weights on
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    done = torchrun(script, settings().dataset, tmp_path / "two")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert done.stdout.count("1 steps") == 1  # only one process speaks
    names = [CHECKPOINT, "factorized-tiny-q3.json", "factorized-tiny-q3.safetensors", LOG, "rank0.pt", "rank1.pt"]
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == sorted(names)
    assert weight_files.read(tmp_path / "two" / names[2]).lmbda == 0.025
    ranks = [torch.load(tmp_path / "two" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert identical(ranks[0], ranks[1])
    assert identical(ranks[0]["model"], checkpoint(tmp_path / "two")["model"])

    monkeypatch.setattr(factorized, "add_noise", lambda y: y)
    both = gradient(ranks[0]["optimiser"])
    doubled = gradient(go(settings(steps=1, batch_size=4), tmp_path / "doubled").optimiser.state_dict())
    first = gradient(go(settings(steps=1, batch_size=2), tmp_path / "first").optimiser.state_dict())
    assert (both - doubled).norm() < 1e-3 * doubled.norm()
    assert (both - first).norm() > 0.1 * first.norm()  # not that of one rank's crops
