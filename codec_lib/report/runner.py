"""The report: whatever of its measurements, notebooks and pages is missing or out of date, made anew.

The graph is in `Snakefile`; here it is run on this machine with a bar that tells the time left.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm.auto import tqdm

from codec_lib import datasets
from codec_lib.command_line import Parser, count, exit_status, say
from codec_lib.errors import BadData
from codec_lib.places import ROOT

INDEX = ROOT / "build" / "report" / "index.html"
LOG = ROOT / "build" / "report.log"
_DONE = re.compile(r"(\d+) of (\d+) steps")
_SAID = re.compile(r"^codec_lib: (.*)")


def run(targets: list[str], dataset: str, jobs: int, progress: bool = True) -> list[str]:
    """Let Snakemake bring targets up to date on so many cores: files or rules of the Snakefile, or the whole report.

    All it says goes to `build/report.log`; what failing jobs said comes back, a sentence each, none if all went well.
    `BadData` if another process is making the report.
    """
    command = [sys.executable, "-m", "snakemake", "--cores", str(jobs), "--config", f"dataset={dataset}"]
    command += ["--rerun-incomplete", "--keep-going", "--nocolor", *targets]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    LOG.parent.mkdir(parents=True, exist_ok=True)
    said: list[str] = []
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with (
        _alone() as (lock, ended),
        open(LOG, "w", buffering=1) as log,
        subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[lock], **pipes) as process,
        tqdm(desc="report", unit="step", disable=not progress) as bar,
    ):
        try:
            for line in process.stdout:
                log.write(line)
                if match := _SAID.match(line):
                    said.append(match[1])
                if match := _DONE.search(line):
                    bar.total = int(match[2])
                    bar.update(int(match[1]) - bar.n)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            raise KeyboardInterrupt("What was finished is kept; 'make report' goes on from there.") from None
        process.wait()
        if process.returncode >= 0:
            ended()
    if process.returncode and not said:
        said.append(f"The report is not complete; {LOG.relative_to(ROOT)} tells why.")
    return said


@contextlib.contextmanager
def _alone() -> Iterator[tuple[int, Callable[[], None]]]:
    """Let one process at a time make the report: a file's descriptor to pass on, and what to call at an orderly end.

    The file is locked as long as this process lives, or a Snakemake that it left behind. It is empty between reports:
    if it is not, the last one was killed, and so cannot have removed Snakemake's own lock.
    """
    with open(LOG.with_suffix(".lock"), "a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BadData("Another process is making the report; wait for its end.") from None
        if file.tell():
            shutil.rmtree(ROOT / ".snakemake" / "locks", ignore_errors=True)
        print("A report is being made.", file=file, flush=True)
        yield file.fileno(), lambda: file.truncate(0)


def main(arguments: list[str] | None = None) -> int:
    """Command line: `python -m codec_lib.report [--dataset NAME] [--jobs N] [NOTEBOOK ...]`."""
    parser = Parser(prog="python -m codec_lib.report", description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, help="notebooks to bring up to date; all without it")
    parser.add_argument("--dataset", help="kodak, embedded or a folder; without it Kodak where it can be had")
    parser.add_argument("--jobs", type=count, default=os.cpu_count(), help="cores to use (default: all)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    args = parser.parse_args(arguments)

    def work() -> int:
        start = time.monotonic()
        unknown = [p for p in args.notebooks if not (ROOT / "notebooks" / f"{p.stem}.ipynb").is_file()]
        if unknown:
            raise BadData(f"There is no notebook {unknown[0]} among those of the report.")
        dataset = args.dataset or datasets.kodak_or_embedded()
        if dataset not in datasets.NAMES:
            dataset = str(Path(dataset).resolve())
        pictures = len(datasets.open_pictures(dataset))
        second = datasets.second_beside(dataset)
        missing = "" if args.dataset or dataset == "kodak" else " (Kodak is neither here nor can it be fetched)"
        print(f"report: {pictures} pictures, {dataset}{' and ' + second if second else ''}{missing}", flush=True)
        said = run([f"build/report/{p.stem}.html" for p in args.notebooks], dataset, args.jobs, not args.quiet)
        for sentence in said:
            say(sentence)
        if said:
            return 1
        print(f"report: up to date after {time.monotonic() - start:.0f} s, begin with {INDEX.relative_to(ROOT)}")
        return 0

    return exit_status(work)
