"""One readable training loop, for CPU, GPU and several of them."""

import contextlib
import itertools
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from codec_lib import datasets, tables
from codec_lib.errors import BadData, CodecError
from codec_lib.metrics import psnr_from_mse
from codec_lib.training import every_rate
from codec_lib.training.checkpoints import CHECKPOINT
from codec_lib.training.checks import check
from codec_lib.training.losses import Loss, mean, validate, validate_range
from codec_lib.training.runs import Run, make_model
from codec_lib.training.settings import Settings
from codec_lib.training.starts import check_origins, sample, start
from codec_lib.weights.weight_files import Frozen

LOG = "log.csv"
WARM_UP = 0.03  # the share of a run in which the learning rate rises
SAVE_EVERY = 120  # seconds between checkpoints

Watch = Callable[[list[dict[str, float]]], None]
"""Shown the rows of a log as it grows."""


def _numbers(step: int, batch_size: int, rank: int, world: int) -> Iterator[list[int]]:
    """The crop numbers of one process from a step on, forever: batch after batch, ranks interleaved."""
    for k in itertools.count(step):
        first = (k * world + rank) * batch_size
        yield list(range(first, first + batch_size))


def learning_rate(progress: float, last: float = 0.01) -> float:
    """Factor of the peak: linear warm-up, then a cosine down to `last`. progress in [0, 1]."""
    if progress < WARM_UP:
        return max(progress / WARM_UP, 0.01)
    angle = math.pi * (progress - WARM_UP) / (1 - WARM_UP)
    return last + (1 - last) * (1 + math.cos(angle)) / 2


def _loss_of(run: Run, crops: datasets.RandomCrops) -> nn.Module:
    """The loss of a run, a module whose `forward` takes a batch, compiled and distributed if that is wanted."""
    settings = run.settings
    if settings.lmbdas is None:
        losses = Loss(run.model, settings.lmbda)
    elif settings.prior_only:
        sensitivity = every_rate.sensitivity(run.model, sample(run, crops, 16), settings.lmbdas)
        losses = every_rate.PriorLoss(run.model, settings.lmbdas, sensitivity)
    else:
        losses = every_rate.EveryRateLoss(run.model, settings.lmbdas)
    if settings.compile:
        losses = torch.compile(losses)
    return DistributedDataParallel(losses) if run.world > 1 else losses


def _steps(settings: Settings, pictures: int, world: int) -> int | None:
    """How many a run has; None where the clock decides."""
    if settings.epochs is not None:
        return max(1, settings.epochs * pictures // (settings.batch_size * world))
    return settings.steps


def _done(run: Run, steps: int | None) -> float:
    """The share that is done; beyond 1 where the last step took longer."""
    if steps is not None:
        return run.step / steps
    share = run.seconds / (60 * run.settings.minutes)
    if run.world > 1:  # the processes' clocks differ; stop together
        shared = torch.tensor([share], device=run.device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        share = shared.item()
    return share


@contextlib.contextmanager
def _process_group() -> Iterator[tuple[int, int, torch.device]]:
    """Rank, world size and device; under torchrun the processes are joined, gloo on CPU, NCCL on GPU."""
    cuda = torch.cuda.is_available()
    if not dist.is_torchelastic_launched():
        yield 0, 1, torch.device("cuda" if cuda else "cpu")
        return
    local = int(os.environ["LOCAL_RANK"])
    dist.init_process_group("nccl" if cuda else "gloo")
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    try:
        yield dist.get_rank(), dist.get_world_size(), device
    finally:
        dist.destroy_process_group()


def train(
    settings: Settings, out: Path, resume: bool = False, source: Frozen | None = None,
    transforms: Frozen | None = None, progress: bool = True, validations: int = 20, watch: Watch | None = None,
) -> Run:  # fmt: skip
    """Train a model and leave `checkpoint.safetensors` and `log.csv` in `out`.

    Every random number depends on the seed, the step and the rank alone, so a run of a given number
    of steps that was interrupted and resumed ends in the same weights as one that was not.

    Args:
        out: folder, created if absent.
        resume: go on from the checkpoint in `out`.
        source: begin from this codec's weights, of the same sizes and any lmbda.
        transforms: then take g_a and g_s from this codec, of the same lmbda or for every rate as well.
        validations: how often the average is validated, evenly spaced over the run.
        watch: called after each validation with the rows of the log so far, say to draw them.

    Returns:
        The finished run; `run.average` is the model to keep. Ranks other than 0 write nothing.

    Raises:
        BadData: no pictures, no checkpoint, or a checkpoint of another run.
        Unsupported: settings that make no sense.
        CodecError: the loss is no longer a finite number.
        KeyboardInterrupt: Ctrl-C, after the step is finished and saved; a second Ctrl-C does not wait.
    """
    with _process_group() as (rank, world, device):
        progress = progress and rank == 0
        torch.manual_seed(settings.seed % 2**63)  # `check` refuses others, once there is a model
        model = make_model(settings)
        check(settings, model, source)
        run = Run(settings, model.to(memory_format=torch.channels_last), device, rank, world)
        if resume:
            run.load(out)
            check_origins(run, source, transforms)
        elif (out / CHECKPOINT).exists():
            raise BadData(f"{out} holds the checkpoint of an earlier run; add --resume, or choose another folder.")
        if world > 1:  # which precision is faster was measured, so it may differ between processes
            agreed = [run.dtype]
            dist.broadcast_object_list(agreed)
            run.dtype = agreed[0]
        training, validation = datasets.split(datasets.open_pictures(settings.dataset))
        scales = settings.smallest_scale, settings.largest_scale
        crops = datasets.RandomCrops(training, settings.crop, settings.seed, scales, progress)
        if not resume:
            start(run, crops, source, transforms)
        _make_folder(out)
        log = _Log(run, out, datasets.centre_crops(validation, settings.crop), validations, watch)
        _loop(run, crops, _steps(settings, len(training), world), log, progress)
    return run


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadData(f"Cannot create the folder {out}: {error.strerror}.") from error


@contextlib.contextmanager
def _held_interrupt() -> Iterator[list[int]]:
    """Ctrl-C appends to the list given here instead of breaking a step in two; a second one acts at once."""
    noted: list[int] = []
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not ours or threading.current_thread() is not threading.main_thread():
        yield noted
        return

    def note(number: int, _frame: object) -> None:
        noted.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def _batches(crops: datasets.RandomCrops, numbers: Iterator[list[int]]) -> Iterator[Iterator[Tensor]]:
    """The crops of these numbers, batch after batch, made by worker processes that end with the `with` block."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(8, max(1, cores // 2 // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
    batches = iter(DataLoader(crops, batch_sampler=numbers, num_workers=workers))
    try:
        yield batches
    finally:
        batches._shutdown_workers()  # else an exception's traceback would keep them


class _Log:
    """What is seen and kept of a run: figures on a bar, a row at each validation, a checkpoint every `SAVE_EVERY`."""

    def __init__(self, run: Run, out: Path, fixed: Tensor, validations: int, watch: Watch | None):
        self.run, self.out, self.fixed, self.validations, self.watch = run, out, fixed, validations, watch
        self.saved = time.monotonic()

    def after_step(self, totals: tuple[Tensor, Tensor, Tensor], before: float, now: float, bar: tqdm) -> None:
        """A step with this loss, bpp and MSE brought the run from one share to another."""
        run = self.run
        validates = int(now * self.validations) > int(before * self.validations) and run.rank == 0
        if not validates and now < 1 and run.step % 10:
            return
        loss, bpp, mse = (t.item() for t in totals)
        if not math.isfinite(loss):
            raise CodecError(f"The training diverged before step {run.step:,}; try a lower --lr.")
        figures = {"loss": loss, "bpp": bpp, "psnr": psnr_from_mse(mse)}
        bar.set_postfix({k: f"{v:.3f}" for k, v in figures.items()} | {"step": run.step}, refresh=False)
        bar.update(min(now, 1) - bar.n)
        if validates:
            self._validate(figures)
        if time.monotonic() - self.saved > SAVE_EVERY:
            self.save()

    def _validate(self, figures: dict[str, float]) -> None:
        run, settings = self.run, self.run.settings
        if settings.lmbdas is None:
            figures |= validate(run.average, self.fixed, settings.lmbda)
        else:
            figures |= mean(validate_range(run.average, self.fixed, settings.lmbdas))
        run.rows.append({"step": run.step, "minutes": round(run.seconds / 60, 2)} | figures)
        tables.write_csv(self.out / LOG, run.rows)
        if self.watch:
            self.watch(run.rows)

    def save(self) -> None:
        """Write the checkpoint, if this is the process that does."""
        if self.run.rank == 0:
            self.run.save(self.out)
        self.saved = time.monotonic()


def _loop(run: Run, crops: datasets.RandomCrops, steps: int | None, log: _Log, progress: bool) -> None:
    loss_of = _loss_of(run, crops)
    numbers = _numbers(run.step, run.settings.batch_size, run.rank, run.world)
    bar_format = "{l_bar}{bar}| {elapsed}<{remaining} {postfix}"
    begun = min(_done(run, steps), 1)
    run.model.train()
    with (
        _held_interrupt() as interrupted,
        _batches(crops, numbers) as batches,
        tqdm(total=1.0, initial=begun, disable=not progress, bar_format=bar_format) as bar,
    ):
        while (done := _done(run, steps)) < 1 and not interrupted:
            begin = time.monotonic()
            totals = _step(run, loss_of, batches, done)
            run.seconds += time.monotonic() - begin
            log.after_step(totals, done, _done(run, steps), bar)
        log.save()
    if interrupted:
        raise KeyboardInterrupt(f"Saved at step {run.step:,}; --resume goes on from there.")


def _step(run: Run, loss_of: nn.Module, batches: Iterator[Tensor], done: float) -> tuple[Tensor, Tensor, Tensor]:
    """One step on the next batch, at the learning rate of a share of the run: loss, bpp and MSE before it."""
    settings, device = run.settings, run.device
    for group in run.optimiser.param_groups:
        group["lr"] = group["peak"] * learning_rate(done, last=settings.last_lr)
    torch.manual_seed(((settings.seed << 40) + (run.step << 8) + run.rank) % 2**63)
    x = next(batches).to(device, memory_format=torch.channels_last, non_blocking=True).float() / 255
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=run.dtype == torch.bfloat16):
        loss, bpp, mse = loss_of(x)
    run.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_([p for p in run.model.parameters() if p.requires_grad], 1.0)
    run.optimiser.step()
    run.step += 1
    run.update_average()
    return loss, bpp, mse
