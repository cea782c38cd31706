"""Kill commands with SIGKILL at random moments and look at what they leave: python tests/kill.py --kills 50 --seed 0.

`encode`, `decode` and `evaluate` leave no output or a whole one. `train` saves after each step here, is killed again
and again, and goes on each time; it must end in the weights of a run that nothing interrupted, bit for bit.

With --report the whole of `make report` is killed instead, in a copy of the checkout, on one photograph; half of the
time just after it has written a file. Each start must go on where the last was killed, and a last one must end well.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
from PIL import Image

from codec_lib import datasets, tables
from codec_lib.places import ROOT
from codec_lib.training.checkpoints import CHECKPOINT

GOLDEN = Path(__file__).parent / "golden"
MAIN = "import sys; from codec_lib.__main__ import main; sys.exit(main())"
SAVING = "from codec_lib.training import training; training.SAVE_EVERY = 0; " + MAIN
STEPS = 40
SUFFIXES = {"encode": ".cbk", "decode": ".png", "evaluate": ".csv", "train": ""}
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


class Place:
    """A folder with a picture, weights and what the commands make of them when nothing kills them."""

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "weights").mkdir()
        (folder / "pictures").mkdir()
        shutil.copy(GOLDEN / "hyperprior" / "tiny.safetensors", folder / "weights" / "hyperprior-tiny-q3.safetensors")
        shutil.copy(GOLDEN / "photo.png", folder / "pictures" / "photo.png")
        choice = ["--model", "hyperprior", "--quality", "3", "--weights", folder / "weights"]
        train = ["--model", "factorized", "--lmbda", "0.013", "--preset", "tiny", "--dataset", "embedded"]
        train += ["--steps", STEPS, "--batch-size", "2"]
        train += ["--crop", "64", "--precision", "float32", "--random-start", "--quiet"]
        self.commands = {
            "encode": ["encode", folder / "pictures" / "photo.png", "OUT.cbk", *choice],
            "decode": ["decode", folder / "whole.cbk", "OUT.png", "--weights", folder / "weights"],
            "evaluate": ["evaluate", *choice, "--dataset", folder / "pictures", "--csv", "OUT.csv", "--quiet"],
            "train": ["train", *train, "--out", "OUT"],
        }
        self.seconds = {}
        self.make("encode")  # what is decoded

    def make(self, name: str) -> None:
        """Let a command make what it makes when nothing kills it, once, and take its time."""
        if name in self.seconds:
            return
        start = time.monotonic()
        if self.start(name, "whole").wait():
            sys.exit(f"error: {name} fails even when nothing kills it")
        self.seconds[name] = time.monotonic() - start
        assert (self.folder / "whole").with_suffix(SUFFIXES[name]).exists()

    def start(self, name: str, output: str, *more: str) -> subprocess.Popen:
        words = [str(word).replace("OUT", str(self.folder / output)) for word in self.commands[name]]
        code = SAVING if name == "train" else MAIN
        environment = {name: value for name, value in os.environ.items() if name != "CODECBOOK_MIRROR"}
        environment["XDG_CACHE_HOME"] = str(self.folder / "cache")  # no Kodak to measure new weights on
        return subprocess.Popen([sys.executable, "-c", code, *words, *more], env=environment, **QUIET)

    def kill(self, name: str, rng: random.Random, output: str, *more: str) -> bool:
        """Start a command and kill it at a random moment, half of the time near its end; whether it was too late."""
        self.make(name)
        share = rng.uniform(0.7, 1.1) if rng.random() < 0.5 else rng.random()
        process = self.start(name, output, *more)
        time.sleep(share * self.seconds[name])
        late = process.poll() is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        return late

    def whole(self, name: str) -> bool:
        """Whether an output is absent or the whole one; it is removed."""
        suffix = SUFFIXES[name]
        path, expected = self.folder / f"out{suffix}", (self.folder / f"whole{suffix}").read_bytes()
        if not path.exists():
            return True
        found = path.read_bytes()
        path.unlink()
        if name == "evaluate":  # times differ
            return [line.count(b",") for line in found.splitlines()] == [
                line.count(b",") for line in expected.splitlines()
            ]
        return found == expected


def ended(folder: Path) -> bool:
    """Whether a training is complete: the card is what it writes last."""
    return any(folder.glob("*-q*.json"))


def card(folder: Path) -> dict:
    """What a finished training says of its weights: their SHA-256, and how many steps led to them."""
    (path,) = folder.glob("*-q*.json")
    told = json.loads(path.read_text())
    return {name: told[name] for name in ("digest", "steps")}


def resume(folder: Path) -> list[str]:
    """The option to go on with a training, where there is something to go on with."""
    return ["--resume"] if (folder / CHECKPOINT).exists() else []


def run(kills: int, seed: int) -> tuple[dict[str, int], list[str]]:
    """How many processes of each command were killed before they ended, and what went wrong."""
    rng, done, wrong = random.Random(seed), dict.fromkeys(("encode", "decode", "evaluate", "train"), 0), []
    resumed = 0
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        for kill in range(kills):
            name = ("train", "encode", "train", "decode", "evaluate")[kill % 5]
            if name == "train":
                out = place.folder / "out"
                if ended(out):  # once more from the start
                    shutil.rmtree(out)
                resumed += bool(resume(out))
                done[name] += not place.kill(name, rng, "out", *resume(out))
            else:
                done[name] += not place.kill(name, rng, "out")
                if not place.whole(name):
                    wrong.append(f"seed {seed}, kill {kill}: {name} left half a file")
        out = place.folder / "out"
        if not ended(out):
            resumed += bool(resume(out))
            if place.start("train", "out", *resume(out)).wait():
                wrong.append(f"seed {seed}: the training could not be resumed")
        if not ended(out) or card(out) != card(place.folder / "whole"):
            wrong.append(f"seed {seed}: the training that was killed came to other weights")
        kept = [path.name for path in place.folder.rglob(".part-*")]
    print(f"{len(kept)} temporary files were left, none with a name that anything reads; {resumed} trainings went on")
    return done, wrong


# --- the report -----------------------------------------------------------------------------


class Report:
    """A copy of the checkout without anything that was made, but with the figures that are committed."""

    def __init__(self, folder: Path, notebooks: list[str]):
        self.notebooks = notebooks
        self.root, self.pictures = folder / "checkout", folder / "one"
        names = ("codec_lib", "data", "figures", "notebooks")
        for name in names:
            ignored = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
            shutil.copytree(ROOT / name, self.root / name, ignore=ignored)
        shutil.copy(ROOT / "Snakefile", self.root)
        self.pictures.mkdir()
        shutil.copy(datasets.find("embedded")[0], self.pictures)  # the notebooks need some hundred pixels a side

    def start(self, jobs: int) -> subprocess.Popen:
        command = [sys.executable, "-m", "codec_lib.report", *self.notebooks, "--dataset", self.pictures]
        command += ["--jobs", str(jobs), "--quiet"]
        environment = os.environ | {"PYTHONPATH": str(self.root)}
        return subprocess.Popen(command, cwd=self.root, env=environment, start_new_session=True, **QUIET)

    def files(self) -> dict[Path, float]:
        """What a reader opens -> when it was written; not what is being made, below `build/report/figures`."""
        places = ("figures", "build/report", "build/measured/*")
        found = (path for place in places for path in self.root.glob(f"{place}/*.*"))
        return {path: path.stat().st_mtime for path in found if not path.name.startswith(".part-")}

    def kill(self, process: subprocess.Popen, rng: random.Random, longest: float) -> bool:
        """Kill a report with all its jobs, at a random moment or just after a file was written; whether it was late."""
        if rng.random() < 0.5:
            before, deadline = self.files(), time.monotonic() + longest
            while self.files() == before and time.monotonic() < deadline and process.poll() is None:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
        else:
            time.sleep(rng.uniform(0, longest))
        late = process.poll() is not None
        if not late:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return late


def damaged(path: Path) -> str:
    """What is wrong with a file of the report; empty if it can be opened and is whole."""
    try:
        match path.suffix:
            case ".png":
                with Image.open(path) as picture:
                    picture.load()
            case ".csv":
                whole = tables.read_csv(path) and path.read_bytes().endswith(b"\n")
                return "" if whole else "no whole table"
            case ".json":
                json.loads(path.read_text())
            case ".ipynb":
                notebook = nbformat.read(path, as_version=4)
                nbformat.validate(notebook)
                return "" if notebook.metadata.papermill.end_time else "not executed to its end"
            case ".html":
                return "" if path.read_text().rstrip().endswith("</html>") else "no end"
            case _:
                return "of an unknown kind"
    except Exception as error:  # whatever a reader meets
        return f"{type(error).__name__}: {error}"
    return ""


def run_report(kills: int, seed: int, longest: float, jobs: int, notebooks: list[str]) -> tuple[int, list[str]]:
    """How many reports were killed before they ended, and what went wrong."""
    rng, done, wrong = random.Random(seed), 0, []
    with tempfile.TemporaryDirectory() as folder:
        report = Report(Path(folder), notebooks)
        log = report.root / "build" / "report.log"
        for kill in range(kills):
            before, process = report.files(), report.start(jobs)
            late = report.kill(process, rng, longest)
            after = report.files()
            if late and process.returncode:
                wrong.append(f"kill {kill}: the next start ended with status {process.returncode}: {said(log)}")
            done += not late
            wrong += [f"kill {kill}: {path.name}: {what}" for path in after if (what := damaged(path))]
            lost = [path.name for path in before if path not in after and path.parent.name == "figures"]
            wrong += [f"kill {kill}: the figure {name} is gone" for name in lost]
            print(f"kill {kill}: {'late' if late else 'killed'}, {len(after)} files", flush=True)
            if late:  # all that is there is old now
                for path in (report.root / "notebooks").iterdir():
                    path.touch()
        start = time.monotonic()
        if status := report.start(jobs).wait():
            wrong.append(f"the last report ended with status {status}: {said(log)}")
        print(f"the last report took {time.monotonic() - start:.0f} s")
        wrong += [f"at the end: {path.name}: {what}" for path in report.files() if (what := damaged(path))]
        for record in (report.root / "figures").glob("*.json"):
            listed = json.loads(record.read_text())["files"]
            digests = {name: hashlib.sha256(record.with_name(name).read_bytes()).hexdigest() for name in listed}
            wrong += [f"{name}: not as {record.name} says" for name in listed if digests[name] != listed[name]]
    return done, wrong


def said(log: Path) -> str:
    """The end of a log."""
    return " ".join(log.read_text().split())[-400:] if log.exists() else "nothing"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="kill the report instead of the commands")
    parser.add_argument("--longest", type=float, default=90, help="seconds that a report may run before it is killed")
    parser.add_argument("--jobs", type=int, default=1, help="of the report (default: 1)")
    parser.add_argument("--notebooks", nargs="*", default=[], help="of the report, by name (default: all)")
    args = parser.parse_args()
    if args.report:
        killed, wrong = run_report(args.kills, args.seed, args.longest, args.jobs, args.notebooks)
        print(f"killed before the end: {killed} of {args.kills}")
    else:
        done, wrong = run(args.kills, args.seed)
        print(f"killed before the end: {', '.join(f'{name} {count}' for name, count in done.items())}")
    print(*wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
