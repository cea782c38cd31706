"""Damage and forge files, and count what becomes of them: `python tests/fuzz.py --cases 100000 --seed 0`.

The subjects are `.cbk` files of every model and coder (of version 1 too, and of models for every rate), tables of
`huffman-file`, weight files, and checkpoints of training.
A case is refused if a `CodecError` says so in a sentence, and right if it gives what the intact file gives though bytes
of it have changed. Nothing else may happen: `silent` are other results without an error, `foreign` other errors, and
`hang` cases of over ten seconds of work.
"""

import argparse
import dataclasses
import itertools
import re
import resource
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from codec_lib import images
from codec_lib.codecs import autoencoder_codec, gained
from codec_lib.coding.container import CODER_IDS, pack, unpack
from codec_lib.errors import CodecError
from codec_lib.rates import THOUSAND
from codec_lib.registry import AUTOENCODERS, models
from codec_lib.training import checkpoints
from codec_lib.weights import weight_files

GOLDEN = Path(__file__).parent / "golden"
HANG = 10.0  # seconds of the processor

Outcome = object
"""What a file gives, comparable; the same for two files that say the same."""


@dataclass(frozen=True)
class Subject:
    """An intact file and what reads it.

    Attributes:
        name, kind: `kind` is a key of `SHARES`.
        data: the file.
        read: bytes -> what they give, or a CodecError.
        expected: what the intact file gives.
    """

    name: str
    kind: str
    data: bytes
    read: Callable[[bytes], Outcome]
    expected: Outcome


# --- damage ---------------------------------------------------------------------------------


def cut(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    return data[: rng.integers(len(data))]


def flipped(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """One to eight bits, half of the time among the first 64 bytes or, of weights, in their header of JSON."""
    out = bytearray(data)
    head = min(len(data), 64 if len(data) < 10_000 else 4096)
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        out[rng.integers(head if rng.random() < 0.5 else len(data))] ^= 1 << rng.integers(8)
    return bytes(out)


def replaced(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """A run of bytes by random ones, by zeros or by ones."""
    at = rng.integers(len(data))
    run = rng.bytes(rng.integers(1, 17)) if rng.random() < 0.6 else bytes([rng.choice([0, 255])]) * rng.integers(1, 17)
    return data[:at] + run + data[at + len(run) :]


def spliced(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """The first part of one file and the last of another, at the same place or at places of their own."""
    at = rng.integers(len(data))
    return data[:at] + other[at if rng.random() < 0.5 else rng.integers(len(other)) :]


def extended(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Bytes after the end or in the middle."""
    at = len(data) if rng.random() < 0.5 else rng.integers(len(data))
    return data[:at] + rng.bytes(rng.integers(1, 33)) + data[at:]


def foreign(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Nothing, random bytes, or random bytes after a right beginning."""
    tail = rng.bytes(rng.integers(0, 300))
    return b"" if rng.random() < 0.05 else data[: rng.integers(40)] + tail


ANY = (cut, flipped, replaced, spliced, extended, foreign)


def repaired(damage: Callable) -> Callable:
    """The damage in all but the checksum, which is made right: only what is behind it can notice."""

    def forge(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
        body = damage(data[:-4], rng, other[:-4])
        return body + struct.pack("<I", zlib.crc32(body))

    return forge


def edited(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """One or two fields of the header changed to values that may be."""
    container = unpack(data)
    for _ in range(rng.choice([1, 1, 2])):
        near = int(rng.choice([-16, -1, 1, 16]))
        choices = {
            "model": str(rng.choice(list(models()))),
            "coder": str(rng.choice(list(CODER_IDS))),
            "quality": int(rng.choice([0, 1000, 2000, 2400, 65535])),
            "height": max(1, container.height + near) if rng.random() < 0.8 else int(rng.integers(1, 2**32)),
            "width": max(1, container.width + near) if rng.random() < 0.8 else int(rng.integers(1, 2**32)),
            "weights": rng.bytes(8),
            "seal": int(rng.integers(2**32)),
            "chunks": ((str(rng.choice(["eXIf", "abcd", "Abcd", "a b."])), rng.bytes(rng.integers(9))),),
        }
        name = str(rng.choice(list(choices)))
        container = dataclasses.replace(container, **{name: choices[name]})
    return pack(container)


def swapped(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Streams of another file, in another order, doubled, dropped, or cut."""
    container = unpack(data)
    streams = list(container.streams)
    match rng.integers(5):
        case 0:
            streams[rng.integers(len(streams))] = unpack(other).streams[0]
        case 1:
            streams = streams[::-1] if len(streams) > 1 else streams * 2
        case 2:
            del streams[rng.integers(len(streams))]
        case 3:
            streams += [rng.bytes(rng.integers(9))]
        case 4:
            k = rng.integers(len(streams))
            streams[k] = ANY[rng.integers(4)](streams[k], rng, streams[0]) if streams[k] else b"\0"
    return pack(dataclasses.replace(container, streams=tuple(streams)))


FORGED = (*map(repaired, (flipped, replaced, spliced, extended, cut)), edited, swapped)
DAMAGES = {"cbk": (*ANY, *FORGED), "cbk version 1": ANY, "table": ANY, "weights": ANY, "checkpoint": ANY}
SHARES = {"cbk": 0.82, "cbk version 1": 0.07, "table": 0.05, "weights": 0.03, "checkpoint": 0.03}
"""Version 1 has no seal, so there is no harm in forging it; weights take milliseconds to read."""


# --- subjects -------------------------------------------------------------------------------


def _digest(header, *symbols: np.ndarray) -> tuple:
    return header.height, header.width, zlib.crc32(b"".join(np.ascontiguousarray(s, "<i4").tobytes() for s in symbols))


def _read_by(frozen: weight_files.Frozen, data: bytes) -> Outcome:
    container = unpack(data)
    codec = frozen.at(container.quality / THOUSAND) if frozen.quality is None else frozen
    return _digest(container, *codec.read_symbols(container).values())


def subjects(folder: Path) -> list[Subject]:
    """All kinds of files, of models so small that reading takes milliseconds."""
    from conftest import PAIRS, random_autoencoder, with_random_gains

    photo = images.read_image(GOLDEN / "photo.png")[0][:20, :37]
    found = []

    def add(name: str, kind: str, data: bytes, read: Callable[[bytes], Outcome]) -> None:
        found.append(Subject(name, kind, data, read, read(data)))

    def add_weights(model: str, data: bytes, file: bytes) -> None:
        target = folder / f"{model}.safetensors"

        def read(data: bytes) -> Outcome:
            """Altered weights may be weights, but never those that wrote the file."""
            target.write_bytes(data)
            return _read_by(weight_files.read(target), file)

        add(model, "weights", data, read)

    for model, coder in PAIRS:
        home = GOLDEN if model == "factorized" else GOLDEN / model
        path = home / "tiny.safetensors"
        frozen = weight_files.read(path)
        file = frozen.encode(photo, coder)
        add(f"{model} {coder}", "cbk", file, partial(_read_by, frozen))
        old = home / f"photo-{coder}.cbk"
        if old.exists():
            add(f"{model} {coder}", "cbk version 1", old.read_bytes(), partial(_read_by, frozen))
        if coder == "constriction":
            add_weights(model, path.read_bytes(), file)
            whole = gained.freeze(with_random_gains(frozen.network, frozen.lmbda), "tiny")
            name = f"{model} for every rate"
            for quality in (0, 2.4):
                file = whole.at(quality).encode(photo, coder)
                add(f"{name}, quality {quality}", "cbk", file, partial(_read_by, whole))
            path = folder / "whole.safetensors"
            weight_files.save(whole, path)
            add_weights(name, path.read_bytes(), file)
    for model in AUTOENCODERS:
        frozen = autoencoder_codec.freeze(random_autoencoder(model, 4), "tiny")
        for coder in autoencoder_codec.CODERS:
            table = folder / f"{model}.json" if coder == "huffman-file" else None
            data = frozen.encode(photo, coder, table)

            def read(data: bytes, frozen=frozen, table=table) -> Outcome:
                container = unpack(data)
                return _digest(container, frozen.read_symbols(container, table))

            add(f"{model} {coder}", "cbk", data, read)
            if table is not None:
                damaged = table.with_suffix(".damaged")

                def read_table(state: bytes, frozen=frozen, damaged=damaged, data=data) -> Outcome:
                    damaged.write_bytes(state)
                    container = unpack(data)
                    return _digest(container, frozen.read_symbols(container, damaged))

                add(model, "table", table.read_bytes(), read_table)
    checkpoint = folder / checkpoints.CHECKPOINT

    def read_checkpoint(data: bytes) -> Outcome:
        checkpoint.write_bytes(data)
        return repr(checkpoints.read(checkpoint))

    state = {"step": 40, "rates": [0.1, None], "model": {"kernel": torch.arange(24.0).view(2, 3, 4)}, "none": {}}
    checkpoints.write(checkpoint, state | {"random": {"torch": torch.get_rng_state()[:64]}})
    add("checkpoint", "checkpoint", checkpoint.read_bytes(), read_checkpoint)
    return found


# --- the count ------------------------------------------------------------------------------


class _Hang(BaseException):
    pass


def _ring(number: int, frame: object) -> None:
    raise _Hang


def run(cases: int, seed: int, progress: bool = False) -> tuple[Counter, list[str], float]:
    """Try `cases` files; how many of each kind and outcome, the cases that should not be, the longest in seconds."""
    tally, findings, longest = Counter(), [], 0.0
    before = [signal.signal(number, _ring) for number in (signal.SIGPROF, signal.SIGALRM)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            pool = {kind: [] for kind in SHARES}
            for subject in subjects(Path(folder)):
                pool[subject.kind].append(subject)
            intact = {subject.data for subject in itertools.chain(*pool.values())}  # a splice may give another file
            for case in range(cases):
                if progress and case % 1000 == 0:
                    print(f"\r{case:,} of {cases:,}", end="", file=sys.stderr, flush=True)
                rng = np.random.default_rng([seed, case])
                kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
                subject, other = (pool[kind][rng.integers(len(pool[kind]))] for _ in range(2))
                damage = DAMAGES[kind][rng.integers(len(DAMAGES[kind]))]
                data = damage(subject.data, rng, other.data)
                signal.setitimer(signal.ITIMER_PROF, HANG)  # of the processor: others may need it, too
                signal.alarm(20 * int(HANG))
                start = time.process_time()
                try:
                    outcome = "unchanged" if data in intact else _outcome(subject, data)
                except _Hang:
                    outcome = "hang"
                finally:
                    signal.setitimer(signal.ITIMER_PROF, 0)
                    signal.alarm(0)
                longest = max(longest, time.process_time() - start)
                tally[kind, outcome.partition(":")[0]] += 1
                if outcome.startswith(("silent", "foreign", "hang")):
                    findings.append(
                        f"seed {seed}, case {case}, {kind} {subject.name}, {damage.__qualname__}: {outcome}"
                    )
    finally:
        for number, handler in zip((signal.SIGPROF, signal.SIGALRM), before, strict=True):
            signal.signal(number, handler)
    return tally, findings, longest


def _outcome(subject: Subject, data: bytes) -> str:
    try:
        found = subject.read(data)
    except CodecError as error:
        sentence = re.fullmatch(r"[A-Z][^\n]*\.", str(error))
        return f"refused, {type(error).__name__}" if sentence else f"foreign: no sentence: {error}"
    except Exception as error:
        return f"foreign: {type(error).__name__}: {error}"
    return "right" if found == subject.expected else "silent"


def table(tally: Counter) -> str:
    """The count as text."""
    outcomes = sorted({outcome for _, outcome in tally} | {"right", "silent", "foreign", "hang"})
    kinds = list(SHARES)
    lines = [f"{'':26}" + "".join(f"{kind:>15}" for kind in (*kinds, "all"))]
    for outcome in outcomes:
        counts = [tally[kind, outcome] for kind in kinds]
        lines.append(f"{outcome:26}" + "".join(f"{n:15,}" for n in (*counts, sum(counts))))
    totals = [sum(n for (k, _), n in tally.items() if k == kind) for kind in kinds]
    lines.append(f"{'cases':26}" + "".join(f"{n:15,}" for n in (*totals, sum(totals))))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    tally, findings, longest = run(args.cases, args.seed, progress=sys.stderr.isatty())
    print(f"python tests/fuzz.py --cases {args.cases} --seed {args.seed}")
    print(table(tally))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"longest case: {longest:.2f} s; peak memory {peak:.0f} MB")
    print(*findings, sep="\n")
    return bool(findings)


if __name__ == "__main__":
    sys.exit(main())
