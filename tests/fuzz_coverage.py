"""Coverage-guided fuzzing of the container and the coders, with atheris: `pip install atheris`, then

    python tests/fuzz_coverage.py CORPUS -max_total_time=600

CORPUS is a folder, filled with small sound inputs when it is empty; what is found lies beside it. The first byte of an
input chooses what reads the rest. Anything but a result or a `CodecError` is a finding.
"""

import contextlib
import json
import struct
import sys
import zlib
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["codec_lib.coding"]):
    from codec_lib.coding import container, symbol_streams
    from codec_lib.coding.huffman import Huffman
    from codec_lib.coding.integer_tables import Tables
    from codec_lib.coding.range_coding import Reader, Writer
from codec_lib.errors import CodecError

GOLDEN = Path(__file__).parent / "golden"
TABLES = Tables(
    np.array([2, 8, 4, 8], np.int32),
    np.array([0, -3, 100, -4], np.int32),
    np.array(
        [65000, 536, 1, 655, 10000, 40000, 12000, 2000, 800, 80, 16384, 16384, 16384, 16384, *[8192] * 8], np.int32
    ),
)
INDEX = np.arange(60) % 4
SYMBOLS = np.array([0, 1, 102, -2] * 14 + [-30_000, 7, 2**30, 3], np.int32)


def read_container(data: bytes) -> None:
    container.read_header(data)
    found = container.unpack(data)
    if found.version == container.VERSION:
        assert container.pack(found) == data


def read_container_repaired(data: bytes) -> None:
    """With a checksum that fits, so that what is behind it is reached."""
    body = container.SIGNATURE + data
    read_container(body + struct.pack("<I", zlib.crc32(body)))


def read_stream(coder: str):
    def read(data: bytes) -> None:
        reader = Reader(TABLES, coder, data)
        for part in np.split(INDEX, 3):
            reader.get(part)
        reader.finish()

    return read


def read_state(data: bytes) -> None:
    with contextlib.suppress(ValueError, RecursionError):  # no JSON; `from_file` makes it a CodecError
        Huffman.from_state(json.loads(data)).decode(data[-40:], 30)


def read_symbols(name: str, alphabet: int):
    def read(data: bytes) -> None:
        symbols = symbol_streams.unpack(name, data, alphabet)
        assert len(symbols) == 0 or 0 <= symbols.min() <= symbols.max() < alphabet

    return read


TARGETS = [
    read_container, read_container_repaired, read_stream("constriction"), read_stream("torchac"),
    read_state,
    read_symbols("huffman", 17), read_symbols("adaptive", 17), read_symbols("adaptive", 1025),
]  # fmt: skip


def inputs() -> list[bytes]:
    """A sound input for each target, and golden files."""
    rng = np.random.default_rng(0)
    files = [path.read_bytes() for path in sorted(GOLDEN.rglob("*.cbk"))]
    streams = []
    for coder in ("constriction", "torchac"):
        writer = Writer(TABLES, coder)
        for part in np.split(np.arange(60), 3):
            writer.put(SYMBOLS[part], INDEX[part])
        streams.append(writer.finish())
    states = [json.dumps(Huffman.from_sequence(np.arange(9), 9).state()).encode()]
    symbols = [
        symbol_streams.pack(name, rng.integers(alphabet, size=50), alphabet)
        for name, alphabet in (("huffman", 17), ("adaptive", 17), ("adaptive", 1025))
    ]
    found = [*streams, *states, *symbols]
    return [
        *(b"\0" + file for file in files), *(b"\1" + file[8:-4] for file in files),
        *(bytes([2 + k]) + data for k, data in enumerate(found)),
    ]  # fmt: skip


def one(data: bytes) -> None:
    if data:
        with contextlib.suppress(CodecError):
            TARGETS[data[0] % len(TARGETS)](data[1:])


def main() -> None:
    corpus = next((Path(a) for a in sys.argv[1:] if not a.startswith("-")), None)
    if corpus is not None and not (corpus.is_dir() and any(corpus.iterdir())):
        corpus.mkdir(parents=True, exist_ok=True)
        for k, data in enumerate(inputs()):
            one(data)
            (corpus / f"sound-{k}").write_bytes(data)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
