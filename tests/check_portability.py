"""Encode in one process, decode in others that compute floats otherwise, and count the symbols that differ.

    python tests/check_portability.py                          all committed weights, the 24 Kodak photographs
    python tests/check_portability.py --model joint --pictures 3 --csv portability.csv

A setting is a number of threads, oneDNN on or off, a memory layout of all weights (the exact networks'
matrices too), and a processor: this one, or one without the vector instructions of the last fifteen years.
Each file is written under one of the sixteen settings in turn and read under all of them. Floats are
watched as well: what torch makes of h_s in float32 must differ somewhere, or the settings would show nothing.
"""

import argparse
import contextlib
import copy
import dataclasses
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OLDEST = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "ONEDNN_MAX_CPU_ISA": "SSE41"}


@dataclass(frozen=True)
class Setting:
    """How floats are computed. `threads` and `processor` belong to a process, the rest can change within."""

    threads: int
    processor: str
    onednn: bool
    layout: str


SETTINGS = [
    Setting(*values)
    for values in itertools.product((1, 2), ("this", "oldest"), (True, False), ("channels_last", "contiguous"))
]


@dataclass(frozen=True)
class Job:
    """A picture to code: paths as text; the encoder leaves `file` and its symbols in `file`.npz.

    `quality` is where weights for every rate are to be taken.
    """

    weights: str
    picture: str
    file: str
    coder: str = "constriction"
    quality: float = 4


def by_process(settings: Iterable[Setting]) -> dict[tuple[int, str], list[Setting]]:
    """The settings that one process can take on after each other."""
    grouped = {}
    for setting in settings:
        grouped.setdefault((setting.threads, setting.processor), []).append(setting)
    return grouped


def start(threads: int, processor: str, action: str, tasks: list[tuple[Job, Setting]]) -> list[dict]:
    """Let a process of its own work through the tasks; it must print nothing but its answers.

    Raises:
        RuntimeError: it failed, or complained.
    """
    environment = {name: value for name, value in os.environ.items() if name not in OLDEST}
    environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONPATH": str(ROOT)}
    environment |= OLDEST if processor == "oldest" else {}
    asked = json.dumps([action, [(dataclasses.asdict(job), dataclasses.asdict(s)) for job, s in tasks]])
    command = [sys.executable, "-W", "error", __file__, "--worker"]
    done = subprocess.run(command, input=asked, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or done.stderr:
        raise RuntimeError(f"a process with {threads} threads, {processor} processor failed:\n{done.stderr}")
    return json.loads(done.stdout)


def check(jobs: list[Job], writers: list[Setting], readers: list[Setting], each: int | None = None) -> list[dict]:
    """Write each job's file under one of the writers in turn, and read it under all readers, or `each` of them.

    Of `SETTINGS`, or half of them, the first reader differs from the writer in every respect.

    Returns:
        A row for each job and reader: the job, the reader's setting, `written_under`, `symbols`, `mismatches`,
        and what the process says of itself and of floats.
    """
    chosen = [writers[k % len(writers)] for k in range(len(jobs))]
    for (threads, processor), settings in by_process(writers).items():
        tasks = [(job, setting) for job, setting in zip(jobs, chosen, strict=True) if setting in settings]
        start(threads, processor, "encode", tasks)
    written_under = dict(zip((job.file for job in jobs), chosen, strict=True))
    rows = []
    for (threads, processor), settings in by_process(readers).items():
        tasks = [(job, s) for k, job in enumerate(jobs) for s in settings if s in _chosen(readers, k, each)]
        for row in start(threads, processor, "decode", tasks):
            rows.append(row | {"written_under": dataclasses.astuple(written_under[row["file"]])})
    return rows


def _chosen(readers: list[Setting], k: int, each: int | None) -> list[Setting]:
    n = len(readers)
    return [readers[(n - 1 - k + 3 * j) % n] for j in range(n if each is None else each)]


# --- within a process -----------------------------------------------------------------------


@contextlib.contextmanager
def onednn(enabled: bool) -> Iterator[None]:
    """Let torch use oneDNN or not."""
    import torch

    before = torch.backends.mkldnn.enabled
    torch.backends.mkldnn.enabled = enabled
    try:
        yield
    finally:
        torch.backends.mkldnn.enabled = before


def in_layout(frozen, layout: str):
    """The codec with all its weights in another order in memory; their values stay."""
    import torch

    from codec_lib.coding.integer_networks import Affine, Convolution, Upsampling

    def turned(part: object) -> object:
        part = copy.copy(part)
        if isinstance(part, Convolution):
            part.taps = turned(part.taps)
        if layout == "contiguous" and isinstance(part, Affine):
            part.weights = [weight.T.contiguous().T for weight in part.weights]
        if layout == "contiguous" and isinstance(part, Upsampling):
            part.weight = part.weight.T.contiguous().T
        return part

    prior = copy.copy(frozen.prior)
    for name, part in vars(prior).items():
        setattr(prior, name, [turned(layer) for layer in part] if isinstance(part, list) else turned(part))
    network = copy.deepcopy(frozen.network).to(memory_format=getattr(torch, MEMORY[layout]))
    return dataclasses.replace(frozen, prior=prior, network=network)


MEMORY = {"channels_last": "channels_last", "contiguous": "contiguous_format"}


def work(action: str, tasks: list[tuple[dict, dict]]) -> list[dict]:
    """Encode or decode, under the settings that a process can take on."""
    from codec_lib.weights import weight_files

    answers, codecs = [], {}
    for job, setting in tasks:
        wanted = job["weights"], job["quality"], setting["layout"]
        if wanted not in codecs:
            frozen = weight_files.read(job["weights"])
            frozen = frozen.at(job["quality"]) if frozen.quality is None else frozen
            codecs[wanted] = in_layout(frozen, setting["layout"])
        frozen = codecs[wanted]
        with onednn(setting["onednn"]):
            answers.append(encode(frozen, job) if action == "encode" else job | setting | decode(frozen, job))
    return answers


def encode(frozen, job: dict) -> dict:
    """Leave the file and its symbols."""
    import numpy as np

    from codec_lib import images

    pixels = images.read_image(job["picture"])[0]
    Path(job["file"]).write_bytes(frozen.encode(pixels, job["coder"]))
    np.savez_compressed(f"{job['file']}.npz", **frozen.analyse(pixels))
    return {}


def decode(frozen, job: dict) -> dict:
    """Read the file and compare; all symbols count as different where it is refused."""
    import numpy as np
    import torch

    from codec_lib.coding.container import unpack
    from codec_lib.errors import CodecError

    with np.load(f"{job['file']}.npz") as saved:
        expected = dict(saved)
    symbols = mismatches = sum(values.size for values in expected.values())
    error = ""
    try:
        found = frozen.read_symbols(unpack(Path(job["file"]).read_bytes()))
        mismatches = sum(int((found[stream] != values).sum()) for stream, values in expected.items())
    except CodecError as refused:
        error = str(refused)
    floats = ""
    if "z" in expected:
        with torch.inference_mode():
            psi = frozen.network.h_s(torch.from_numpy(expected["z"]).float()[None])
        floats = hashlib.sha256(psi.contiguous().numpy().tobytes()).hexdigest()[:16]
    return {
        "symbols": symbols, "mismatches": mismatches, "error": error, "floats": floats,
        "torch_threads": torch.get_num_threads(), "capability": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip


# --- the command ----------------------------------------------------------------------------


def main() -> int:
    """1 if a symbol differs."""
    from codec_lib import datasets, tables
    from codec_lib.registry import PRIORS, presets
    from codec_lib.weights import weight_files

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=list(PRIORS), metavar="NAME", help="models to check")
    parser.add_argument("--quality", type=float, nargs="+", default=[1, 2, 3, 4], metavar="Q", help="rate points")
    parser.add_argument("--dataset", default="kodak", help="kodak, embedded, or a folder of pictures")
    parser.add_argument("--pictures", type=int, metavar="N", help="take the first N pictures only")
    parser.add_argument(
        "--processor", nargs="+", choices=("this", "oldest"), default=["this", "oldest"], help="which to take on"
    )
    parser.add_argument("--readers", type=int, metavar="N", help="read each file under N settings, not under all")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a row for each file and setting there")
    args = parser.parse_args()
    settings = [setting for setting in SETTINGS if setting.processor in args.processor]
    pictures = datasets.open_pictures(args.dataset)[: args.pictures]
    rows = []
    for model, quality in itertools.product(args.model, args.quality):
        paths = [weight_files.path_of(model, preset, None) for preset in presets()]
        for weights in filter(Path.is_file, paths):
            with tempfile.TemporaryDirectory() as folder:
                jobs = [Job(str(weights), str(p), f"{folder}/{p.stem}.cbk", quality=quality) for p in pictures]
                found = check(jobs, settings, settings, args.readers)
            wrong, symbols = (sum(row[name] for row in found) for name in ("mismatches", "symbols"))
            kinds = len({(row["picture"], row["floats"]) for row in found if row["floats"]}) / len(pictures)
            floats = f"; in float32, h_s gave {kinds:.1f} results a picture" if kinds else ""
            print(
                f"{weights.stem} at quality {quality:g}: {len(pictures)} pictures, {len(found)} decodings, "
                f"{wrong:,} of {symbols:,} symbols differ{floats}",
                flush=True,
            )
            rows += [{"model": model, "quality": quality} | _row(row) for row in found]
    if not rows:
        print("There are no such weights.")
        return 1
    total = sum(row["mismatches"] for row in rows)
    print(f"in all: {len(rows):,} decodings, {total:,} mismatches")
    if args.csv:
        tables.write_csv(args.csv, rows)
    return int(total > 0)


def _row(row: dict) -> dict:
    names = ("threads", "processor", "onednn", "layout")
    writer = {f"writer_{name}": value for name, value in zip(names, row["written_under"], strict=True)}
    reader = {f"reader_{name}": row[name] for name in names}
    return {"image": Path(row["picture"]).stem} | writer | reader | {k: row[k] for k in ("symbols", "mismatches")}


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        print(json.dumps(work(*json.load(sys.stdin))))
    else:
        sys.path.insert(0, str(ROOT))
        sys.exit(main())
