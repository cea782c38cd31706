"""The `.cbk` container: header, streams, checksums.

    offset  bytes
         0      8   signature 89 43 42 4B 0D 0A 1A 0A: like PNG's, it shows damage by text transfers
         8      1   version
         9      1   model                   10  1  quality          11  1  coder
        12      8   first bytes of the weights' SHA-256
        20      4   height                  24  4  width            (little endian, as all below)
        28      4   CRC-32 of the symbols: int32, stream after stream
        32      1   number of streams n
        33     4n   their lengths
         .      .   the streams
        -4      4   CRC-32 of all bytes before

37 + 4 n bytes besides the streams. Every length is checked before anything is allocated.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from codec_lib.errors import Corrupt, Truncated, Unsupported, WrongModel
from codec_lib.images import check_size

SIGNATURE = b"\x89CBK\r\n\x1a\n"
VERSION = 1
MODEL_IDS = {
    "factorized": 1, "hyperprior": 2, "joint": 3, "checkerboard": 4,
    "ae-maxpool": 16, "ae-strided": 17, "ae-residual": 18, "ae-vae": 19, "ae-vector": 20, "ae-resnet18": 21,
}  # fmt: skip
CODER_IDS = {"constriction": 1, "torchac": 2, "huffman": 16, "adaptive": 17, "huffman-file": 18}
_HEAD = struct.Struct("<8s4B8sIIIB")


@dataclass(frozen=True)
class Container:
    """What a `.cbk` file says.

    Attributes:
        model, coder: names. quality: 1 to 255; of an autoencoder the bits of its quantiser.
        weights: first 8 bytes of the SHA-256 of the weights that wrote it.
        height, width: of the picture, pixels.
        symbols_crc: CRC-32 of the decoded symbols.
        streams: the entropy coder's output, at most 255 of them.
    """

    model: str
    quality: int
    coder: str
    weights: bytes
    height: int
    width: int
    symbols_crc: int
    streams: tuple[bytes, ...]


def symbols_crc(*streams: np.ndarray) -> int:
    """The CRC-32 of symbols, int32, stream after stream."""
    return zlib.crc32(b"".join(np.ascontiguousarray(symbols, "<i4").tobytes() for symbols in streams))


def check_weights(container: Container, digest: bytes) -> None:
    """Refuse a file that other weights wrote than those with this SHA-256.

    Raises:
        WrongModel: it is one.
    """
    if container.weights != digest[:8]:
        raise WrongModel(
            f"The file was written by other weights ({container.weights.hex()}) of the model {container.model} "
            f"than those at hand ({digest[:8].hex()})."
        )


def overhead(streams: int) -> int:
    """Bytes of a file besides its streams."""
    return _HEAD.size + 4 * streams + 4


def pack(container: Container) -> bytes:
    """The file's bytes."""
    c = container
    head = _HEAD.pack(
        SIGNATURE, VERSION, MODEL_IDS[c.model], c.quality, CODER_IDS[c.coder], c.weights,
        c.height, c.width, c.symbols_crc, len(c.streams),
    )  # fmt: skip
    lengths = struct.pack(f"<{len(c.streams)}I", *map(len, c.streams))
    body = head + lengths + b"".join(c.streams)
    return body + struct.pack("<I", zlib.crc32(body))


def unpack(data: bytes) -> Container:
    """Read and check a file; nothing is decoded yet.

    Raises:
        Corrupt: not a `.cbk` file, or damaged.
        Truncated: it ends too early.
        Unsupported: another version, or a model or coder unknown here.
        TooLarge: the picture is.
    """
    if data[:8] != SIGNATURE[: len(data)] or not data:
        raise Corrupt("This is not a .cbk file (its signature is missing).")
    if len(data) < _HEAD.size:
        raise Truncated("The .cbk file is cut off inside its header.")
    _, version, model, quality, coder, weights, height, width, symbols_crc, n = _HEAD.unpack_from(data)
    if version != VERSION:
        raise Unsupported(f"The .cbk file has version {version}; this program reads version {VERSION}.")
    if len(data) < overhead(n):
        raise Truncated("The .cbk file is cut off inside its header.")
    lengths = struct.unpack_from(f"<{n}I", data, _HEAD.size)
    expected = overhead(n) + sum(lengths)
    if len(data) < expected:
        raise Truncated(f"The .cbk file is cut off: it has {len(data):,} bytes of {expected:,}.")
    if len(data) > expected:
        raise Corrupt(f"The .cbk file has {len(data) - expected:,} bytes more than its header says.")
    if zlib.crc32(data[:-4]) != struct.unpack_from("<I", data, len(data) - 4)[0]:
        raise Corrupt("The .cbk file is damaged (its checksum does not fit).")
    if not height or not width:
        raise Corrupt(f"The .cbk file says that its picture has {width}x{height} pixels.")
    check_size(height, width)
    streams, at = [], _HEAD.size + 4 * n
    for length in lengths:
        streams.append(data[at : at + length])
        at += length
    return Container(
        _name(MODEL_IDS, model, "model"), quality, _name(CODER_IDS, coder, "coder"),
        weights, height, width, symbols_crc, tuple(streams),
    )  # fmt: skip


def _name(ids: dict[str, int], value: int, kind: str) -> str:
    for name, number in ids.items():
        if number == value:
            return name
    raise Unsupported(f"The .cbk file was written with {kind} number {value}, which this version does not know.")
