"""The `.cbk` container: header, chunks, streams, checksums.

    offset  bytes
         0      8   signature 89 43 42 4B 0D 0A 1A 0A: like PNG's, it shows damage by text transfers
         8      1   version, 2
         9      1   model              10  1  coder
        11      1   number of streams n
        12      1   number of chunks k
        13      2   quality, in thousandths (little endian, as all below)
        15      8   first bytes of the weights' SHA-256
        23      4   height             27  4  width
        31      4   seal: CRC-32 of all the rest and of the symbols
        35     4n   lengths of the streams
         .     8k   types and lengths of the chunks
         .      .   the chunks         .   .  the streams
        -4      4   CRC-32 of all bytes before

39 + 4 n bytes besides the streams where there are no chunks. Every length is checked before anything is allocated.

The last checksum tells damage at once. The seal tells, after decoding, a decoder out of step and fields that were
changed with the checksum made right: it covers the file without seal and checksum, then the symbols as int32.

A chunk carries what is not needed to decode. As in PNG a reader skips types that it does not know whose first letter
is small, and refuses a file with others.

Files of version 1 are read, not written. They have no chunks and a seal of the symbols alone.
"""

import io
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import numpy as np

from codec_lib import limits, registry
from codec_lib.errors import Corrupt, Desynchronised, TooLarge, Truncated, Unsupported, WrongModel

SIGNATURE = b"\x89CBK\r\n\x1a\n"
VERSION = 2
CODER_IDS = {"constriction": 1, "torchac": 2, "huffman": 16, "adaptive": 17, "huffman-file": 18}

EXIF, ICC = "eXIf", "iCCP"
"""Types of chunks: a TIFF structure as PNG's `eXIf` has it; an ICC profile as it is, not compressed."""
MAX_CHUNKS = 2**24
"""Bytes that the chunks of a file may have altogether."""

_HEAD_1 = struct.Struct("<8s4B8sIIIB")
_HEAD_2 = struct.Struct("<8s5BH8sIII")
_CHECKSUM = 4
_CHANNELS = 16  # whose symbols are copied at once, if they do not lie together


@dataclass(frozen=True)
class Header:
    """What the first bytes of a `.cbk` file say.

    Attributes:
        model, coder: names.
        quality: thousandths, 2400 for `--quality 2.4`; of an autoencoder 1000 times the bits of its quantiser.
        weights: first 8 bytes of the SHA-256 of the weights that wrote it.
        height, width: of the picture, pixels.
        seal: CRC-32, see above.
        version: of the format.
    """

    model: str
    quality: int
    coder: str
    weights: bytes
    height: int
    width: int
    seal: int = field(default=0, kw_only=True)
    version: int = field(default=VERSION, kw_only=True)


@dataclass(frozen=True)
class Lengths:
    """How the bytes after the first are divided.

    Attributes:
        head: bytes up to the first chunk or stream.
        chunks: type and bytes of each, in the order of the file. streams: bytes of each, after them.
    """

    head: int
    chunks: tuple[tuple[str, int], ...]
    streams: tuple[int, ...]

    @property
    def file(self) -> int:
        """Bytes of the whole file."""
        return self.head + sum(n for _, n in self.chunks) + sum(self.streams) + _CHECKSUM


@dataclass(frozen=True)
class Container(Header):
    """A `.cbk` file.

    Attributes:
        streams: the entropy coder's output, at most 255 of them.
        chunks: type and content of each, at most 255 of them.
    """

    streams: tuple[bytes, ...] = ()
    chunks: tuple[tuple[str, bytes], ...] = field(default=(), kw_only=True)

    @property
    def overhead(self) -> int:
        """Bytes of the file besides streams and chunks' contents."""
        fixed = _HEAD_1 if self.version == 1 else _HEAD_2
        return fixed.size + 4 * len(self.streams) + 8 * len(self.chunks) + _CHECKSUM


def metadata(exif: bytes, icc: bytes) -> tuple[tuple[str, bytes], ...]:
    """The chunks of a TIFF structure and of an ICC profile; none of what is empty."""
    return tuple((name, data) for name, data in ((EXIF, exif.removeprefix(b"Exif\0\0")), (ICC, icc)) if data)


# --- writing --------------------------------------------------------------------------------


def pack(container: Container) -> bytes:
    """The file's bytes, in version 2, `TooLarge` with more metadata than a reader takes; the seal is taken as it is."""
    if container.version != VERSION:
        raise ValueError(f"files of version {container.version} are not written any more")
    _check_metadata(len(data) for _, data in container.chunks)
    body = _head(container) + _payload(container)
    return body + struct.pack("<I", zlib.crc32(body))


def seal(container: Container, *symbols: np.ndarray) -> Container:
    """The container with the seal that says that it decodes to these symbols, stream after stream."""
    return replace(container, seal=_seal_of(container, symbols))


def _head(c: Container) -> bytes:
    fixed = _HEAD_2.pack(
        SIGNATURE, c.version, registry.entry(c.model).number, CODER_IDS[c.coder], len(c.streams), len(c.chunks),
        c.quality, c.weights, c.height, c.width, c.seal,
    )  # fmt: skip
    lengths = struct.pack(f"<{len(c.streams)}I", *map(len, c.streams))
    return fixed + lengths + b"".join(struct.pack("<4sI", name.encode("ascii"), len(data)) for name, data in c.chunks)


def _payload(c: Container) -> bytes:
    return b"".join((*(data for _, data in c.chunks), *c.streams))


def _seal_of(container: Container, symbols: tuple[np.ndarray, ...]) -> int:
    unsealed = replace(container, seal=0)
    crc = 0 if container.version == 1 else zlib.crc32(_head(unsealed) + _payload(unsealed))
    for values in symbols:
        for k in range(0, len(values), _CHANNELS):
            crc = zlib.crc32(np.ascontiguousarray(values[k : k + _CHANNELS], "<i4"), crc)
    return crc


# --- reading --------------------------------------------------------------------------------


def read_header(source: bytes | BinaryIO) -> tuple[Header, Lengths]:
    """What the first bytes of a file say, some 3 KB at most; the checksum, at the other end, is not checked.

    A file is left where its chunks begin.

    Raises:
        Corrupt: not a `.cbk` file, or its fields contradict each other.
        Truncated: it ends too early.
        Unsupported: another version, or a model, coder or chunk unknown here.
        TooLarge: the picture is, or the chunks are.
    """
    _, fields, lengths = _read_head(io.BytesIO(source) if isinstance(source, bytes) else source)
    return _understand(fields, lengths), lengths


def read(file: BinaryIO) -> bytes:
    """All bytes of a file whose header is sound, from disk or from a pipe; a byte more than it should have at most.

    Raises:
        Corrupt, Truncated, Unsupported, TooLarge: as `read_header` does, before anything else is read.
    """
    head, fields, lengths = _read_head(file)
    _understand(fields, lengths)
    pieces, missing = [head], lengths.file + 1 - len(head)
    while missing and (piece := file.read(min(missing, 2**20))):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def unpack(data: bytes) -> Container:
    """Read and check a file, bytes or any buffer of them; nothing is decoded yet.

    Raises:
        TypeError: these are no bytes, but a path, say.
        Corrupt: not a `.cbk` file, or damaged.
        Truncated: it ends too early.
        Unsupported: another version, or a model, coder or chunk unknown here.
        TooLarge: the picture is, or the chunks are.
    """
    data = data if isinstance(data, bytes) else bytes(memoryview(data))  # slices of numpy's are no bytes
    _, fields, lengths = _read_head(io.BytesIO(data))
    if len(data) < lengths.file:
        raise Truncated(f"The .cbk file is cut off: it has {len(data):,} bytes of {lengths.file:,}.")
    if len(data) > lengths.file:
        raise Corrupt(f"The .cbk file has {len(data) - lengths.file:,} bytes more than its header says.")
    if zlib.crc32(memoryview(data)[:-_CHECKSUM]) != struct.unpack_from("<I", data, len(data) - _CHECKSUM)[0]:
        raise Corrupt("The .cbk file is damaged (its checksum does not fit).")
    header = _understand(fields, lengths)
    at, parts = lengths.head, []
    for length in (*(n for _, n in lengths.chunks), *lengths.streams):
        parts.append(data[at : at + length])
        at += length
    k = len(lengths.chunks)
    chunks = tuple((name, part) for (name, _), part in zip(lengths.chunks, parts[:k], strict=True))
    return Container(**vars(header), streams=tuple(parts[k:]), chunks=chunks)


def check_seal(container: Container, *symbols: np.ndarray) -> None:
    """Refuse (`Desynchronised`) symbols that are not those that were encoded, and a file that was changed since."""
    if _seal_of(container, symbols) != container.seal:
        raise Desynchronised("The symbols decoded from the file are not those that were encoded.")


def check_weights(container: Header, digest: bytes) -> None:
    """Refuse (`WrongModel`) a file that other weights wrote than those with this SHA-256."""
    if container.weights != digest[:8]:
        raise WrongModel(
            f"The file was written by other weights ({container.weights.hex()}) of the model {container.model} "
            f"than those at hand ({digest[:8].hex()})."
        )


def _read_head(file: BinaryIO) -> tuple[bytes, tuple, Lengths]:
    """The bytes before the first chunk, their fields in the order of `Header`, and the lengths they tell."""
    head = file.read(len(SIGNATURE) + 1)
    if head[:8] != SIGNATURE[: len(head)] or not head:
        raise Corrupt("This is not a .cbk file (its signature is missing).")
    version = head[8] if len(head) > 8 else VERSION
    if version not in (1, VERSION):
        raise Unsupported(f"The .cbk file has version {version}; this program reads versions 1 to {VERSION}.")
    layout = _HEAD_1 if version == 1 else _HEAD_2
    head += file.read(layout.size - len(head))
    if len(head) < layout.size:
        raise Truncated("The .cbk file is cut off inside its header.")
    if version == 1:
        _, _, model, quality, coder, weights, height, width, seal, n = layout.unpack(head)
        quality, k = 1000 * quality, 0
    else:
        _, _, model, coder, n, k, quality, weights, height, width, seal = layout.unpack(head)
    head += (directory := file.read(4 * n + 8 * k))
    if len(directory) < 4 * n + 8 * k:
        raise Truncated("The .cbk file is cut off inside its header.")
    chunks = tuple((name.decode("latin-1"), length) for name, length in struct.iter_unpack("<4sI", directory[4 * n :]))
    lengths = Lengths(len(head), chunks, struct.unpack_from(f"<{n}I", directory))
    return head, (model, quality, coder, weights, height, width, seal, version), lengths


def _understand(fields: tuple, lengths: Lengths) -> Header:
    """The header that has these fields, if they make sense."""
    model, quality, coder, weights, height, width, seal, version = fields
    if not height or not width:
        raise Corrupt(f"The .cbk file says that its picture has {width}x{height} pixels.")
    limits.check_size(height, width)
    if sum(lengths.streams) > 2**20 + 16 * (height + 63) * (width + 63):
        raise Corrupt(f"The .cbk file has more bytes than a picture of {width}x{height} can need.")
    names = [name for name, _ in lengths.chunks]
    if len({*names}) < len(names) or any(not (name.isascii() and name.isalpha()) for name in names):
        raise Corrupt("The .cbk file has chunks of impossible types.")
    for name in names:
        if name[0].isupper():
            raise Unsupported(f"The .cbk file needs a reader that knows its chunk {name}; this version does not.")
    _check_metadata(n for _, n in lengths.chunks)
    models = {name: entry.number for name, entry in registry.models().items()}
    model, coder = _name(models, model, "model"), _name(CODER_IDS, coder, "coder")
    return Header(model, quality, coder, weights, height, width, seal=seal, version=version)


def _check_metadata(sizes: Iterable[int]) -> None:
    if sum(sizes) > MAX_CHUNKS:
        most = MAX_CHUNKS // 2**20
        raise TooLarge(f"A .cbk file has at most {most} MiB of metadata; encode with --metadata strip.")


def _name(ids: dict[str, int], value: int, kind: str) -> str:
    for name, number in ids.items():
        if number == value:
            return name
    raise Unsupported(f"The .cbk file was written with {kind} number {value}, which this version does not know.")
