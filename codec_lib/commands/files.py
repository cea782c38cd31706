"""Which files a command reads and writes, and going over them: one, or many."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from codec_lib import files
from codec_lib.command_line import Nowhere, refusal, say, settle
from codec_lib.errors import BadData

STANDARD = Path("-")
"""Standard input where something is read, standard output where something is written."""


@dataclass(frozen=True)
class Job:
    """One file to read and the one to write from it, over another or not; either may be `STANDARD`."""

    source: Path
    target: Path
    force: bool = False


@dataclass(frozen=True)
class Done:
    """What is said of a job that succeeded: a line on stdout, unless the file went there, and notes on stderr."""

    line: str
    notes: list[str] = field(default_factory=list)


def is_output(name: str) -> bool:
    """Whether a name at the end can only mean where to write: a dash or a device."""
    return name == "-" or (name.startswith("/dev/") and not name.startswith("/dev/shm/"))  # which holds plain files


def plan(
    names: list[str], target: str | None, out: Path | None, suffix: str, suffixes: Iterable[str], force: bool
) -> list[Job]:
    """The files to read and to write; everything that can be refused before any work is.

    Args:
        names: files, folders, or `-`.
        target: the one file to write, if it was named.
        out: the folder to write into, which may not exist yet; else beside the inputs.
        suffix: of the files written. suffixes: of the files taken from a folder.
        force: replace what is there.

    Raises:
        BadData: an output cannot be written, would replace something, or is not told.
    """
    sources = [pair for name in names for pair in _sources(name, out, set(suffixes))]
    if target is not None and len(sources) > 1:
        raise BadData(f"Several files cannot all become {target}; name a folder with --out DIR.")
    jobs = [Job(source, _target(source, below, target, out, suffix), force) for source, below in sources]
    if out is not None:
        _check_folder(out)
    if len(jobs) > 1 and any(STANDARD in (job.source, job.target) for job in jobs):
        raise BadData("Standard input and output are for one file, and there are several.")
    first: dict[str, Job] = {}
    for job in jobs:
        other = first.setdefault(os.path.realpath(job.target), job)
        if other is not job:
            raise BadData(f"{other.source} and {job.source} would both become {job.target}.")
    read_from = {os.path.realpath(job.source) for job in jobs}
    for job in jobs:
        if target is None and out is None and job.source != STANDARD and not job.source.parent.is_dir():
            raise BadData(f"Cannot read {job.source}: its folder does not exist.")
        check_output(job.target, job.source, force=force, made=out is not None)
        if job.target != STANDARD and os.path.realpath(job.target) in read_from:
            raise BadData(f"The output {job.target} is one of the inputs.")
    return jobs


def path_of(name: str) -> Path:
    """A path as it is typed: `-` is `STANDARD`, and `./-` is a file."""
    if name in ("-", "/dev/stdin", "/dev/stdout", "/dev/fd/1"):
        return STANDARD
    return Path(name).absolute() if Path(name) == STANDARD else Path(name)


def _sources(name: str, out: Path | None, suffixes: set[str]) -> list[tuple[Path, Path]]:
    """The files that a name means, each with its path below --out."""
    path = path_of(name)
    if path == STANDARD or not path.is_dir():
        return [(path, Path(path.name))]
    if out is None:
        raise BadData(f"{path} is a folder; name another for the results with --out DIR.")
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    if not found:
        raise BadData(f"The folder {path} holds no files that end in {', '.join(sorted(suffixes))}.")
    return [(p, p.relative_to(path)) for p in found]


def _target(source: Path, below: Path, target: str | None, out: Path | None, suffix: str) -> Path:
    if target is not None:
        return path_of(target)
    if source == STANDARD and out is None:
        return STANDARD
    if source == STANDARD:
        raise BadData("Standard input has no name; name the output instead of --out.")
    return source.with_suffix(suffix) if out is None else out / below.with_suffix(suffix)


def _check_folder(out: Path) -> None:
    """Refuse a folder for results that neither exists nor can be made."""
    if out.exists() and not out.is_dir():
        raise BadData(f"Cannot write into {out}: it is not a folder.")
    there = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not there.is_dir():
        raise BadData(f"Cannot write into {out}: {there} is not a folder.")
    if not os.access(there, os.W_OK):
        raise BadData(f"Cannot write into the folder {there}.")


def check_output(path: Path, *inputs: Path, force: bool = True, made: bool = False) -> None:
    """Refuse, before any work, an output that cannot be written, or would replace an input or anything unforced.

    Args:
        path: file to write. inputs: files that it must not be.
        force: replace what is there. made: its folder will be.
    """
    if path == STANDARD and isinstance(sys.stdout, Nowhere):
        raise BadData("Cannot write standard output: it is closed.")
    if path == STANDARD:
        return
    if not made or path.parent.is_dir():
        files.check_target(path)
    device = path.exists() and not path.is_file()
    if path.parent.is_dir() and not os.access(path if device else path.parent, os.W_OK):
        raise BadData(f"Cannot write into the folder {path.parent}.")
    for source in inputs:
        if source.exists() and path.exists() and path.samefile(source):
            raise BadData(f"The output {path} is the input itself.")
    if (path.is_file() or (path.is_symlink() and not device)) and not force:
        raise BadData(f"{path} exists; --force replaces it.")


def read(source: Path, how: Callable = lambda file: file.read()) -> bytes:
    """The bytes of a file or of standard input, or what `how` takes of them."""
    if source != STANDARD:
        return files.read_bytes(source, how)
    if sys.stdin is None:
        raise BadData("Cannot read standard input: it is closed.")
    return how(sys.stdin.buffer)


def write(job: Job, data: bytes) -> None:
    """Bytes into a job's file, whose folder is made, or to standard output."""
    if job.target == STANDARD:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    job.target.parent.mkdir(parents=True, exist_ok=True)
    check_output(job.target, force=job.force)  # once more: a search takes minutes
    files.write_bytes(job.target, data)


def over(jobs: list[Job], work: Callable[[Job], Done], at_once: int = 1) -> int:
    """Do all jobs and say how each went; the exit status.

    A single job that fails raises. Of many, those that can be done are, with a bar if someone watches, and the status
    is 1 if any failed.

    Args:
        work: does a job, in several threads if `at_once` is above 1.
    """
    if len(jobs) == 1:
        _report(jobs[0], work(jobs[0]))
        return 0
    from tqdm import tqdm

    failed = 0

    def attempt(job: Job) -> Done | str:
        try:
            return work(job)
        except Exception as error:
            sentence = refusal(error)
            if sentence is None:
                raise
            return sentence

    with tqdm(total=len(jobs), unit="file", disable=None) as bar:
        for job, result in zip(jobs, _results(attempt, jobs, at_once), strict=True):
            with tqdm.external_write_mode():
                if isinstance(result, str):
                    failed += 1
                    say(result if str(job.source) in result else f"{job.source}: {result}")
                else:
                    _report(job, result)
            bar.update()
    if failed:
        say(f"{failed} of {len(jobs)} files failed.")
    return 1 if failed else 0


def _results(work: Callable, jobs: list[Job], at_once: int) -> Iterator:
    """What `work` makes of each job, in their order."""
    if at_once == 1:
        yield from map(work, jobs)
        return
    import torch

    threads = max(1, torch.get_num_threads() // at_once)  # together they use as many cores as one would
    pool = ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(threads,))
    try:
        yield from pool.map(work, jobs)
    except KeyboardInterrupt:  # Python would wait for the threads, perhaps for minutes
        say("Interrupted.")
        os._exit(130)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _report(job: Job, done: Done) -> None:
    for note in done.notes:
        say(f"{'standard input' if job.source == STANDARD else job.source}: {note}.")
    if job.target != STANDARD:
        try:
            print(" ".join(f"{job.target}: {done.line}".splitlines()), flush=True)
        except OSError:  # nobody reads it any more; there may be more files to write
            settle(sys.stdout)
