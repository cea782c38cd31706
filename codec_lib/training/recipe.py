"""Repeat the training runs that led to weight files, from their cards alone.

    python -m codec_lib.training.recipe --list
    python -m codec_lib.training.recipe --minutes 60 --names hyperprior-compact joint-compact

A card tells its own run and, in `before`, those that led to the weights it began from. Every run is repeated once,
after those that it begins from, in a folder of its own. One that is finished is not run again, one that was
interrupted goes on.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from codec_lib import registry
from codec_lib.command_line import Parser, exit_status
from codec_lib.errors import BadData, CodecError, Unsupported
from codec_lib.networks.resnet18 import PRETRAINED
from codec_lib.training.checkpoints import CHECKPOINT
from codec_lib.training.publishing import corpus
from codec_lib.training.settings import LENGTHS, Settings, options
from codec_lib.weights import weight_files
from codec_lib.weights.cards import card_path, read_card_of, runs_of

FOLDER = Path("runs", "recipe")
ORIGINS = {"start": "started_from", "transforms": "transforms"}
"""Option of `train` -> where the card tells, as "NAME DIGEST16", which weights it named."""


@dataclass(frozen=True)
class Stage:
    """One run that a card tells of."""

    name: str
    digest: str  # of the weights that it ended in
    settings: Settings
    origins: dict[str, str] = field(default_factory=dict)  # option of `train` -> `Stage.key`
    threads: int | None = field(default=None, compare=False)  # of the processor, where it ran on one
    processes: int = 1
    corpus: str | None = field(default=None, compare=False)  # checksum
    minutes: float = field(default=0.0, compare=False)
    exact: bool = field(default=False, compare=False)  # the length was a number of steps or epochs from the beginning

    @property
    def key(self) -> str:
        return f"{self.name} {self.digest[:16]}"

    def folder(self, root: Path) -> Path:
        return root / f"{self.name}-{self.digest[:8]}"

    def weights(self, root: Path) -> Path:
        return self.folder(root) / f"{self.name}.safetensors"

    def is_finished(self, root: Path) -> bool:
        return card_path(self.weights(root)).is_file()  # written last


def stage_of(run: dict) -> Stage:
    """A stage from a card, or from an entry of its `before`; `BadData` if it does not tell what decides a run.

    What a card of old does not tell had one value only.
    """
    try:
        name, began = run["name"], {option: run.get(entry) for option, entry in ORIGINS.items()}
        model, preset = re.sub(r"-q\d+$", "", name).rsplit("-", 1)
        told = {k: run[k] for k in Settings.__dataclass_fields__ if run.get(k) is not None and k not in LENGTHS}
        if "lmbdas" in told:
            told["lmbdas"] = tuple(told["lmbdas"])
        settings = Settings(**{"model": model, "preset": preset} | told, steps=run["steps"])
        if "random_start" not in run and registry.entry(model).load().pretrained and began["start"] is None:
            settings = replace(settings, random_start=True)  # before there was a classical start
        threads = re.match(r"CPU, (\d+) threads", run["device"])
        return Stage(
            name, run["digest"], settings,
            {option: origin for option, origin in began.items() if origin not in (None, PRETRAINED)},
            int(threads[1]) if threads else None, run.get("processes", 1), run.get("corpus", {}).get("sha256"),
            run["minutes"], run.get("length") in ("steps", "epochs"),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = run.get("name") if isinstance(run, dict) else None
        raise BadData(f"The card of {what or 'a run'} does not say how it was made ({error!r}).") from error


def stages_of(cards: Iterable[dict]) -> dict[str, Stage]:
    """Every run that the cards tell of, by its key; `BadData` if two disagree on the same weights."""
    stages: dict[str, Stage] = {}
    for card in cards:
        for run in runs_of(card):
            stage = stage_of(run)
            if stages.setdefault(stage.key, stage) != stage:
                raise BadData(f"Two cards disagree on how the weights {stage.key} were made.")
    return stages


def in_order(stages: dict[str, Stage], wanted: Iterable[str]) -> list[Stage]:
    """The wanted runs, each after those that it begins from; `BadData` if no card tells how one of these was made."""
    order: dict[str, Stage] = {}

    def visit(key: str, above: tuple[str, ...]) -> None:
        if key in order:
            return
        if key not in stages:
            raise BadData(
                f"The weights {above[-1]} cannot be made again: no card tells of {key}, which they began from."
            )
        if key in above:
            raise BadData(f"The weights {key} cannot be made again: by the cards they began from themselves.")
        for origin in stages[key].origins.values():
            visit(origin, (*above, key))
        order[key] = stages[key]

    for key in wanted:
        visit(key, ())
    return list(order.values())


def plan(weights: Path, names: list[str] | None = None) -> tuple[list[Stage], dict[str, Stage]]:
    """The runs behind the cards of a folder, or of those named, in order, and all that the cards tell of.

    `BadData` if a card cannot be read or repeated, `Unsupported` if there is none of that name.
    """
    cards = {path.stem: read_card_of(path) for path in sorted(weights.glob("*.json"))}
    if unknown := set(names or []) - set(cards):
        raise Unsupported(f"There is no card {min(unknown)} in {weights}; there are: {', '.join(cards) or 'none'}.")
    if not cards:
        raise BadData(f"There is no card in {weights}.")
    stages = stages_of(cards.values())
    return in_order(stages, [stage_of(cards[name]).key for name in names or cards]), stages


def command(stage: Stage, stages: dict[str, Stage], root: Path) -> list[str]:
    """The command that makes a stage, or goes on with it, without the Python that runs it."""
    words = ["-m", "codec_lib", "train", *options(stage.settings)]
    if stage.processes > 1:
        launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={stage.processes}"]
        words = [*launcher, "-m", "--", *words[1:]]  # after "--", or it takes --start for an option of its own
    for option, origin in stage.origins.items():
        words += [f"--{option}", str(stages[origin].weights(root))]
    resume = ["--resume"] if (stage.folder(root) / CHECKPOINT).is_file() else []
    return [*words, "--out", str(stage.folder(root)), *resume]


def listing(order: list[Stage], stages: dict[str, Stage], root: Path) -> str:
    """The order as a script: a command for each run, above it what the card tells of its cost."""
    lines = []
    for stage in order:
        state = "; finished" if stage.is_finished(root) else ""
        lines.append(f"# {stage.key}: {stage.settings.steps} steps, {stage.minutes} minutes{state}")
        threads = f"OMP_NUM_THREADS={stage.threads} " if stage.threads else ""
        lines.append(threads + shlex.join(["python", *command(stage, stages, root)]))
    return "\n".join(lines)


def repeat(
    order: list[Stage], stages: dict[str, Stage], root: Path, minutes: float | None = None, quiet: bool = False
) -> None:
    """Make what is not finished yet, each run in a process of its own.

    Args:
        order, stages: of `plan`.
        root: folder of the runs' folders; is made if need be.
        minutes: stop after these; the run that is interrupted then goes on the next time.

    Raises:
        BadData: the pictures are not those that the cards tell of.
        CodecError: a run failed.
        KeyboardInterrupt: Ctrl-C, after the run has saved its state.
    """
    end = None if minutes is None else time.monotonic() + 60 * minutes
    checksums: dict[str, str] = {}
    for k, stage in enumerate(order):
        where = f"run {k + 1} of {len(order)}, {stage.key}"
        if not stage.is_finished(root):
            _check_corpus(stage, checksums)
            print(f"recipe: {where}: {stage.settings.steps} steps, {stage.minutes} minutes when first made", flush=True)
            words = [sys.executable, *command(stage, stages, root), *(["--quiet"] if quiet else [])]
            threads = {"OMP_NUM_THREADS": str(stage.threads)} if stage.threads else {}
            left = None if end is None else end - time.monotonic()
            status = _run(words, os.environ | threads, left)
            if status is None:
                print(f"recipe: the time is up in {where}; the same command goes on from there")
                return
            if status:
                raise CodecError(f"The {where} failed with exit status {status}; the reason is given above.")
        if read_card_of(stage.weights(root))["digest"] == stage.digest:
            result = "the same weights, bit for bit"
        elif stage.exact:
            result = "other weights; another machine or version rounds differently"
        else:
            result = "other weights; the first run may have been measured in minutes"
        print(f"recipe: {where}: {result}", flush=True)


def _check_corpus(stage: Stage, checksums: dict[str, str]) -> None:
    dataset = stage.settings.dataset
    if stage.corpus and checksums.setdefault(dataset, corpus(dataset)["sha256"]) != stage.corpus:
        raise BadData(f"The pictures of {dataset} are no longer those that {stage.key} was trained on.")


def _run(words: list[str], environment: dict[str, str], seconds: float | None) -> int | None:
    """Exit status of a command, or None if the time was up: then it has had Ctrl-C and has ended."""
    if seconds is not None and seconds <= 0:
        return None
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background: the command would not hear it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(words, env=environment) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            status = process.wait()
            return status if status in (0, 2) else None  # 2 is a refusal in a sentence; torchrun ends with 1
        except KeyboardInterrupt:  # which the command has had, too
            process.wait()
            raise


def main(arguments: list[str] | None = None) -> int:
    """Command line, see above; 0, or 2 after one sentence on stderr, or 130 after Ctrl-C."""
    parser = Parser(prog="python -m codec_lib.training.recipe", description=__doc__.splitlines()[0])
    parser.add_argument("--names", nargs="+", metavar="NAME", help="weights to make (default: all that have a card)")
    parser.add_argument("--minutes", type=float, metavar="T", help="stop after these; the next call goes on")
    parser.add_argument("--list", action="store_true", help="print the commands, in order, and run none")
    parser.add_argument(
        "--weights", type=Path, default=weight_files.WEIGHTS, metavar="DIR", help="folder of the cards (data/weights)"
    )
    parser.add_argument("--out", type=Path, default=FOLDER, metavar="DIR", help="folder of the runs (runs/recipe)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    args = parser.parse_args(arguments)

    def work() -> None:
        if args.minutes is not None and not args.minutes >= 0:
            raise Unsupported(f"The minutes must be 0 or more, not {args.minutes:g}.")
        order, stages = plan(args.weights, args.names)
        if args.list:
            print(listing(order, stages, args.out))
        else:
            repeat(order, stages, args.out, args.minutes, args.quiet)

    return exit_status(work)


if __name__ == "__main__":
    sys.exit(main())
