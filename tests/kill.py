"""Kill commands with SIGKILL at random moments and look at what they leave: python tests/kill.py --kills 50 --seed 0.

`encode`, `decode` and `evaluate` leave no output or a whole one. `train` saves after each step here, is killed again
and again, and goes on each time; it must end in the weights of a run that nothing interrupted, bit for bit.
"""

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"
MAIN = "import sys; from codec_lib.__main__ import main; sys.exit(main())"
SAVING = "from codec_lib.training import training; training.SAVE_EVERY = 0; " + MAIN
STEPS = 40


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
        train += ["--steps", STEPS, "--batch-size", "2", "--crop", "64", "--precision", "float32", "--quiet"]
        self.commands = {
            "encode": ["encode", folder / "pictures" / "photo.png", "OUT.cbk", *choice],
            "decode": ["decode", folder / "whole.cbk", "OUT.png", "--weights", folder / "weights"],
            "evaluate": ["evaluate", *choice, "--dataset", folder / "pictures", "--csv", "OUT.csv", "--quiet"],
            "train": ["train", *train, "--out", "OUT"],
        }
        self.seconds = {}
        for name, output in (("encode", "cbk"), ("decode", "png"), ("evaluate", "csv"), ("train", "")):
            start = time.monotonic()
            status = self.start(name, "whole").wait()
            if status:
                sys.exit(f"error: {name} fails even when nothing kills it")
            self.seconds[name] = time.monotonic() - start
            assert (folder / "whole").with_suffix(f".{output}" if output else "").exists()

    def start(self, name: str, output: str, *more: str) -> subprocess.Popen:
        words = [str(word).replace("OUT", str(self.folder / output)) for word in self.commands[name]]
        code = SAVING if name == "train" else MAIN
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen([sys.executable, "-c", code, *words, *more], **quiet)

    def kill(self, name: str, rng: random.Random, output: str, *more: str) -> bool:
        """Start a command and kill it at a random moment, half of the time near its end; whether it was too late."""
        share = rng.uniform(0.7, 1.1) if rng.random() < 0.5 else rng.random()
        process = self.start(name, output, *more)
        time.sleep(share * self.seconds[name])
        late = process.poll() is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
        return late

    def whole(self, name: str) -> bool:
        """Whether an output is absent or the whole one; it is removed."""
        suffix = {"encode": ".cbk", "decode": ".png", "evaluate": ".csv"}[name]
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


def card(folder: Path) -> dict:
    """What a finished training says of its weights: their SHA-256, and how many steps led to them."""
    (path,) = folder.glob("*-q*.json")
    told = json.loads(path.read_text())
    return {name: told[name] for name in ("digest", "steps")}


def run(kills: int, seed: int) -> tuple[dict[str, int], list[str]]:
    """How many processes of each command were killed before they ended, and what went wrong."""
    rng, done, wrong = random.Random(seed), dict.fromkeys(("encode", "decode", "evaluate", "train"), 0), []
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder))
        for kill in range(kills):
            name = ("train", "encode", "train", "decode", "evaluate")[kill % 5]
            if name == "train":
                out = place.folder / "out"
                if out.exists() and any(out.glob("*.safetensors")):  # it had ended: once more from the start
                    shutil.rmtree(out)
                more = ["--resume"] if (out / "checkpoint.safetensors").exists() else []
                done[name] += not place.kill(name, rng, "out", *more)
            else:
                done[name] += not place.kill(name, rng, "out")
                if not place.whole(name):
                    wrong.append(f"seed {seed}, kill {kill}: {name} left half a file")
        out = place.folder / "out"
        if not any(out.glob("*.safetensors")):
            more = ["--resume"] if (out / "checkpoint.safetensors").exists() else []
            if place.start("train", "out", *more).wait():
                wrong.append(f"seed {seed}: the training could not be resumed")
        if card(out) != card(place.folder / "whole"):
            wrong.append(f"seed {seed}: the training that was killed came to other weights")
        kept = [path.name for path in place.folder.rglob(".part-*")]
    print(f"{len(kept)} temporary files were left, none with a name that anything reads")
    return done, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    done, wrong = run(args.kills, args.seed)
    print(f"killed before the end: {', '.join(f'{name} {count}' for name, count in done.items())}")
    print(*wrong, sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
