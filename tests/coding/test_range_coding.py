"""Symbols come back as they went in, in hardly more bytes than the ideal; damage ends in a `CodecError`."""

import copy
import math
import sys

import numpy as np
import pytest
import torch
from conftest import is_a_sentence
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import inflict

from codec_lib.coding import torchac_coder
from codec_lib.coding.integer_tables import TOTAL, WIDEST, Tables, build_tables
from codec_lib.coding.range_coding import CODERS, Reader, Writer
from codec_lib.coding.varints import read_varint, write_varint
from codec_lib.errors import CodecError, Corrupt, Truncated, Unsupported
from codec_lib.networks.densities import UnivariateDensity, frozen_tables

OUTLIERS = [30_000, -30_000, 2**30, -(2**30), 2**31 - 1, -(2**31)]
EMPTY = np.zeros(0, np.int32)


def make_tables(rng: np.random.Generator, widths: list[int], skew: float) -> Tables:
    """Random tables; `skew` is 0 for even ones, and at 3 most of the probability is on few symbols."""
    return build_tables([(int(rng.integers(-2 * w, w)), rng.dirichlet(np.full(w, 10.0**-skew))) for w in widths])


def draw(rng: np.random.Generator, tables: Tables, index: np.ndarray) -> np.ndarray:
    """Symbols that the tables themselves would produce, escapes (by a little) among them."""
    symbols = np.zeros(len(index), np.int32)
    for t in np.unique(index):
        of_t = np.flatnonzero(index == t)
        symbols[of_t] = tables.offsets[t] + rng.choice(tables.widths[t], len(of_t), p=tables.row(t) / TOTAL)
    return symbols


def write(tables: Tables, coder: str, groups: list[tuple[np.ndarray, np.ndarray]]) -> bytes:
    writer = Writer(tables, coder)
    for symbols, index in groups:
        writer.put(symbols, index)
    return writer.finish()


def read(tables: Tables, coder: str, data: bytes, indices: list[np.ndarray]) -> list[np.ndarray]:
    reader = Reader(tables, coder, data)
    groups = [reader.get(index) for index in indices]
    reader.finish()
    return groups


seeds = st.integers(0, 2**32 - 1)
all_widths = st.lists(st.sampled_from([2**k for k in range(1, 13)]), min_size=1, max_size=6)
skews = st.floats(0, 3)


@st.composite
def streams(draw_from) -> tuple[Tables, list[tuple[np.ndarray, np.ndarray]]]:
    """Tables, and groups of (symbols, index), unsorted, with outliers and symbols at the tables' edges."""
    rng = np.random.default_rng(draw_from(seeds))
    tables = make_tables(rng, draw_from(all_widths), draw_from(skews))
    groups = []
    for size in draw_from(st.lists(st.sampled_from([0, 1, 2, 3, 50, 400]), max_size=4)):
        index = rng.integers(0, len(tables.widths), size)
        symbols = draw(rng, tables, index)
        if size and draw_from(st.booleans()):
            where = rng.integers(0, size, 1 + size // 10)
            low, high = tables.offsets[index[where]], tables.offsets[index[where]] + tables.widths[index[where]]
            odd = np.stack([*np.broadcast_arrays(*OUTLIERS, low), low - 1, high - 2, high - 1, high])
            symbols[where] = odd[rng.integers(0, len(odd), len(where)), np.arange(len(where))]
        groups.append((symbols, index))
    return tables, groups


# --- round trips ----------------------------------------------------------------------------


@pytest.mark.parametrize("coder", CODERS)
@given(streams())
@settings(max_examples=60)
def test_symbols_come_back(coder, stream):
    tables, groups = stream
    data = write(tables, coder, groups)
    decoded = read(tables, coder, data, [index for _, index in groups])
    for (symbols, _), back in zip(groups, decoded, strict=True):
        assert back.dtype == np.int32
        np.testing.assert_array_equal(back, symbols)


def test_every_outlier_costs_a_few_bytes(coder):
    tables = build_tables([(-4, np.full(8, 1 / 8))])
    plain = np.zeros(1000, np.int32)
    index = np.zeros(1000, np.int64)
    without = len(write(tables, coder, [(plain, index)]))
    for outlier in OUTLIERS:
        symbols = plain.copy()
        symbols[500] = outlier
        data = write(tables, coder, [(symbols, index)])
        assert len(data) <= without + math.ceil((math.log2(2 * abs(outlier)) + 1) / 7) + 4
        np.testing.assert_array_equal(read(tables, coder, data, [index])[0], symbols)


def test_a_stream_of_nothing_is_a_byte(coder):
    tables = make_tables(np.random.default_rng(0), [8], 0)
    assert write(tables, coder, []) == write(tables, coder, [(EMPTY, EMPTY)]) == b"\0"
    assert read(tables, coder, b"\0", []) == []
    assert read(tables, coder, b"\0", [EMPTY])[0].shape == (0,)


def test_the_order_of_groups_and_symbols_is_kept(coder):
    tables = build_tables([(0, np.full(16, 1 / 16)), (100, np.full(64, 1 / 64))])
    first, second = np.array([3, 101, 5, 100], np.int32), np.array([150, 1], np.int32)
    data = write(tables, coder, [(first, np.array([0, 1, 0, 1])), (second, np.array([1, 0]))])
    reader = Reader(tables, coder, data)
    assert reader.get(np.array([0, 1, 0, 1])).tolist() == first.tolist()
    assert reader.get(np.array([1, 0])).tolist() == second.tolist()
    reader.finish()


def test_coding_is_repeatable(coder):
    rng = np.random.default_rng(5)
    tables = make_tables(rng, [4, 32, 32, 512], 1)
    index = rng.integers(0, 4, 3000)
    groups = [(draw(rng, tables, index), index)]
    copy = Tables(tables.widths.copy(), tables.offsets.copy(), tables.frequencies.copy())
    assert write(tables, coder, groups) == write(copy, coder, groups)


def test_torchac_is_called_with_as_many_rows_as_it_can_count(monkeypatch):
    rng = np.random.default_rng(1)
    tables = make_tables(rng, [4, 256, 256, 4096], 1)
    index = rng.integers(0, 4, 2000)
    symbols = draw(rng, tables, index)
    assert torchac_coder._CELLS < 2**31  # torchac's offset into the rows is a C int
    whole = write(tables, "torchac", [(symbols, index)])
    monkeypatch.setattr(torchac_coder, "_CELLS", 3 * 4097)
    portions = torchac_coder._portions(tables, index)
    assert all(len(where) * (width + 1) <= 3 * 4097 for width, where in portions)
    assert np.sort(np.concatenate([where for _, where in portions])).tolist() == list(range(2000))
    data = write(tables, "torchac", [(symbols, index)])
    assert len(data) > len(whole)
    np.testing.assert_array_equal(read(tables, "torchac", data, [index])[0], symbols)


# --- size -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "widths, skew, count",
    [([2], 1, 400_000), ([16, 64, 256], 0.5, 100_000), ([8] * 50 + [32] * 50, 2, 100_000), ([4096, 1024], 0, 60_000)],
)
def test_the_real_size_is_hardly_above_the_ideal_and_never_below(coder, widths, skew, count):
    rng = np.random.default_rng(count)
    tables = make_tables(rng, widths, skew)
    index = np.sort(rng.integers(0, len(widths), count))
    symbols = draw(rng, tables, index)
    inside = symbols - tables.offsets[index] < tables.widths[index] - 1  # escapes cost more than `bits` says
    symbols, index = symbols[inside], index[inside]
    ideal = tables.bits(symbols, index)
    assert ideal > 8000
    real = 8 * len(write(tables, coder, [(symbols, index)]))
    assert ideal < real <= 1.0005 * ideal + 8 * 16


def test_a_stream_cannot_be_shorter_than_the_least_bits(coder):
    """The bound on which `Codec.read_symbols` refuses impossible sizes."""
    rng = np.random.default_rng(3)
    for skew in (0, 1, 3):
        tables = make_tables(rng, [2, 8, 64, 1024], skew)
        for count in (1, 10, 10_000):
            index = rng.integers(0, 4, count)
            likeliest = np.array([tables.row(t)[:-1].argmax() for t in range(4)]) + tables.offsets
            data = write(tables, coder, [(likeliest[index].astype(np.int32), index)])
            assert 8 * len(data) + 64 >= tables.least_bits[index].sum()


# --- damage ---------------------------------------------------------------------------------


@st.composite
def damages(draw_from) -> bytes:
    """Edits of bytes as a recipe for `inflict`."""
    return draw_from(st.lists(st.tuples(st.sampled_from(["flip", "cut", "insert", "random"]), seeds), min_size=1))


@pytest.mark.parametrize("coder", CODERS)
@given(streams(), damages())
@settings(max_examples=100)
def test_a_damaged_stream_gives_symbols_or_a_codec_error(coder, stream, damage):
    tables, groups = stream
    data = inflict(write(tables, coder, groups), damage)
    try:
        decoded = read(tables, coder, data, [index for _, index in groups])
    except CodecError as error:
        assert is_a_sentence(error)
    else:  # wrong ones, mostly: the container's checksums are there to tell
        assert [len(symbols) for symbols in decoded] == [len(symbols) for symbols, _ in groups]


@pytest.fixture(scope="module")
def sample() -> tuple[Tables, np.ndarray, np.ndarray]:
    """Tables of several widths, 300 symbols with two escapes, and their index."""
    rng = np.random.default_rng(7)
    tables = make_tables(rng, [4, 16, 16, 256], 0)
    index = rng.integers(0, 4, 300)
    symbols = (tables.offsets[index] + 1).astype(np.int32)
    symbols[[20, 30]] = 30_000, -30_000
    return tables, symbols, index


def test_an_end_cut_off_is_noticed_in_the_escapes_and_by_torchac(sample, coder):
    tables, symbols, index = sample
    data = write(tables, coder, [(symbols, index)])
    cuts = range(len(data)) if coder == "torchac" else range(7)
    for cut in cuts:
        with pytest.raises((Truncated, Corrupt)):
            read(tables, coder, data[:cut], [index])


def test_more_bytes_than_symbols_are_refused(sample, coder):
    tables, symbols, index = sample
    data = write(tables, coder, [(symbols, index)])
    for tail in (b"\0" * 8, b"\xff" * 8, b"\x01" * 400):
        with pytest.raises(Corrupt, match="goes on after its last symbol"):
            read(tables, coder, data + tail, [index])
    with pytest.raises(Corrupt, match="goes on after its last symbol"):
        read(tables, coder, write(tables, coder, [(symbols[40:], index[40:])] * 2), [index[40:]])


def test_constriction_wants_whole_words(sample):
    tables, symbols, index = sample
    with pytest.raises(Corrupt, match="whole words"):
        read(tables, "constriction", write(tables, "constriction", [(symbols, index)])[:-1], [index])


def with_escapes(tables: Tables, coder: str, symbols: np.ndarray, index: np.ndarray, distances: list[int]) -> bytes:
    """The stream of symbols with another list of escapes."""
    data = write(tables, coder, [(symbols, index)])
    length, at = read_varint(data, 0)
    escapes = b"".join(map(write_varint, distances))
    return write_varint(len(escapes)) + escapes + data[at + length :]


def test_escapes_must_fit_the_symbols_that_need_them(sample, coder):
    tables, symbols, index = sample
    same = read(tables, coder, with_escapes(tables, coder, symbols, index, [0, 1]), [index])[0]
    assert same[20] == tables.offsets[index[20]] + tables.widths[index[20]] - 1  # just above the table
    assert same[30] == tables.offsets[index[30]] - 1  # just below
    with pytest.raises(Truncated):
        read(tables, coder, with_escapes(tables, coder, symbols, index, [0]), [index])
    with pytest.raises(Corrupt, match="more escapes"):
        read(tables, coder, with_escapes(tables, coder, symbols, index, [0, 1, 2]), [index])


@pytest.mark.parametrize("distance", [2**33, 2**33 + 1, 2**63 - 1, 2**63 - 2])
def test_a_symbol_beyond_32_bits_is_refused(sample, coder, distance):
    tables, symbols, index = sample
    with pytest.raises(Corrupt, match="impossible symbol"):
        read(tables, coder, with_escapes(tables, coder, symbols, index, [distance, 0]), [index])


def test_tables_at_the_edge_of_32_bits_do_not_wrap_around(coder):
    tables = Tables(*(np.array(a, np.int32) for a in ([2, 4], [0, 2**31 - 2], [32768, 32768] + [16384] * 4)))
    shifted = Tables(tables.widths, np.array([0, 0], np.int32), tables.frequencies)
    index = np.array([0, 1])
    data = write(shifted, coder, [(np.array([0, 2], np.int32), index)])
    with pytest.raises(Corrupt, match="impossible symbol"):
        read(tables, coder, data, [index])
    fits = np.array([0, 2**31 - 1], np.int32)
    np.testing.assert_array_equal(read(tables, coder, write(tables, coder, [(fits, index)]), [index])[0], fits)


# --- coders that are not there --------------------------------------------------------------


def test_an_unknown_coder_is_refused_with_the_known_ones():
    tables = make_tables(np.random.default_rng(0), [4], 0)
    for use in (lambda: Writer(tables, "huffman"), lambda: Reader(tables, "huffman", b"\0")):
        with pytest.raises(Unsupported, match=r"'huffman'; choose from constriction, torchac\.$"):
            use()


def test_without_a_compiler_torchac_is_refused_quietly_with_advice(tmp_path, monkeypatch, capfd):
    (tmp_path / "torchac.py").write_text(
        "import os\nprint('building')\nos.system('echo no compiler >&2')\nraise RuntimeError('no build')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchac", raising=False)
    tables = make_tables(np.random.default_rng(0), [4], 0)
    for use in (lambda: Writer(tables, "torchac"), lambda: Reader(tables, "torchac", b"\0")):
        with pytest.raises(Unsupported, match=r"apt install g\+\+.*--coder constriction") as caught:
            use()
        assert is_a_sentence(caught.value)
    assert write(tables, "constriction", []) == b"\0"
    assert capfd.readouterr() == ("", "")


# --- tables of a density --------------------------------------------------------------------


def exact_probabilities(density: UnivariateDensity) -> np.ndarray:
    """Of the integers -8192 to 8192 in each channel, float64 (C, 16385)."""
    values = torch.arange(-8192, 8193, dtype=torch.float64).expand(density.channels, -1)
    with torch.no_grad():
        return density.double().log_prob(values).exp().numpy()


@pytest.fixture(scope="module")
def scales() -> np.ndarray:
    return np.array([0.03, 0.1, 0.3, 1, 3, 10, 30, 100])


@pytest.fixture(scope="module")
def density(scales) -> UnivariateDensity:
    """Densities of very different widths, bent by random parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        density = UnivariateDensity(len(scales), init_scale=torch.tensor(scales))
        with torch.no_grad():
            for a in density.a:
                a.normal_(0, 1)
    return density


@pytest.fixture(scope="module")
def frozen(density) -> Tables:
    return frozen_tables(density)


def test_frozen_tables_are_the_density(density, frozen, scales):
    exact = exact_probabilities(copy.deepcopy(density))
    assert len(frozen.widths) == len(scales)
    for c, p in enumerate(exact):
        width, first = int(frozen.widths[c]), int(frozen.offsets[c]) + 8192
        q = frozen.row(c) / TOTAL
        inside = p[first : first + width - 1]
        outside = 1 - inside.sum()
        assert outside < 2 * 2.0**-17 + 1e-9  # `tail` on either side
        assert q[-1] <= outside + 1.01 / TOTAL
        variation = (np.abs(q[:-1] - inside).sum() + abs(q[-1] - outside)) / 2
        assert variation < width / TOTAL
        divergence = (inside * np.log2(inside / q[:-1])).sum()
        assert divergence < 1.5 * width / TOTAL


def test_frozen_tables_cost_samples_what_the_density_does(density, frozen):
    """The estimate of the bits is that of the files: within 0.1 % where tables are not very wide."""
    rng = np.random.default_rng(0)
    exact = exact_probabilities(copy.deepcopy(density))
    checked = 0
    for c, p in enumerate(exact):
        symbols = rng.choice(np.arange(-8192, 8193, dtype=np.int32), 100_000, p=p / p.sum())
        ideal = -np.log2(p[symbols + 8192]).sum()
        index = np.full(len(symbols), c)
        if ideal > len(symbols) and frozen.widths[c] <= 512:
            assert frozen.bits(symbols, index) == pytest.approx(ideal, rel=1e-3)
            checked += 1
        assert frozen.bits(symbols, index) < ideal + len(symbols) * 2 * frozen.widths[c] / TOTAL
    assert checked >= 3


def test_freezing_leaves_the_density_as_it_was_and_is_repeatable(density, frozen):
    before = {name: t.clone() for name, t in density.state_dict().items()}
    again = frozen_tables(density)
    for name, t in density.state_dict().items():
        assert t.dtype == torch.float32
        assert torch.equal(t, before[name])
    for part in ("widths", "offsets", "frequencies"):
        np.testing.assert_array_equal(getattr(again, part), getattr(frozen, part))


def spike(scale: float, location: float = 0.0) -> UnivariateDensity:
    """A logistic density of its own scale at a place."""
    density = UnivariateDensity(1, K=0, init_scale=scale)
    with torch.no_grad():
        density.b[0].fill_(-location / scale)
    return density


def test_a_density_too_wide_keeps_its_middle_and_escapes_the_rest(coder):
    tables = frozen_tables(spike(3000, 500))
    p = exact_probabilities(spike(3000, 500))[0]
    assert tables.widths.tolist() == [WIDEST]
    first = int(tables.offsets[0])
    assert first < 500 < first + WIDEST
    assert abs(first + WIDEST / 2 - 500) < 3  # around the mode
    inside = p[first + 8192 : first + 8192 + WIDEST - 1].sum()
    assert tables.row(0)[-1] / TOTAL == pytest.approx(1 - inside, abs=1e-3)
    symbols = np.random.default_rng(0).integers(-20_000, 20_000, 500).astype(np.int32)
    index = np.zeros(500, np.int64)
    np.testing.assert_array_equal(read(tables, coder, write(tables, coder, [(symbols, index)]), [index])[0], symbols)


@pytest.mark.parametrize("location", [-3, 0, 41])
def test_a_point_mass_costs_nothing_but_allows_everything(coder, location):
    tables = frozen_tables(spike(1e-3, location))
    index = np.zeros(10_000, np.int64)
    certain = np.full(10_000, location, np.int32)
    assert tables.bits(certain, index) < 1
    assert len(write(tables, coder, [(certain, index)])) <= 8
    certain[5000] = location - 7
    np.testing.assert_array_equal(read(tables, coder, write(tables, coder, [(certain, index)]), [index])[0], certain)


@pytest.mark.parametrize("location", [-1e6, 20_000, 1e6])
def test_a_density_out_of_reach_still_gives_tables(coder, location):
    tables = frozen_tables(spike(2, location))
    assert tables.row(0)[-1] > 0.9 * TOTAL  # nearly everything is an escape
    symbols, index = np.full(50, int(location), np.int32), np.zeros(50, np.int64)
    np.testing.assert_array_equal(read(tables, coder, write(tables, coder, [(symbols, index)]), [index])[0], symbols)
