"""Adaptive arithmetic coding follows a sequence and forgets; its integers stay in their bounds."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import SAMPLE, laplacian, seeds

from codec_lib.coding.adaptive_arithmetic import (
    Statistics,
    arithmetic_decode,
    arithmetic_encode,
    decode,
    encode,
    least_bits,
)
from codec_lib.coding.compressor import entropy
from codec_lib.coding.symbol_streams import pack, unpack
from codec_lib.coding.varints import write_varint
from codec_lib.errors import Corrupt, Truncated

# --- sizes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("alphabet, spread", [(3, 0.2), (5, 0.1), (17, 0.05), (17, 0.2), (17, 0.5)])
def test_adaptive_coding_is_near_the_entropy_of_a_stationary_source(alphabet, spread):
    symbols = laplacian(np.random.default_rng(alphabet), alphabet, 20_000, spread)
    assert 8 * len(pack("adaptive", symbols, alphabet)) <= 1.02 * 20_000 * entropy(symbols)


@pytest.mark.parametrize("alphabet, share", [(3, 0.85), (5, 0.8), (17, 0.8), (1025, 0.97)])
def test_adaptive_coding_is_far_below_the_entropy_of_one_that_changes(alphabet, share):
    rng = np.random.default_rng(alphabet)
    spreads = np.exp(rng.uniform(np.log(0.01), np.log(0.15), 30))
    channels = [laplacian(rng, alphabet, 1000, spread, rng.uniform(0.2, 0.8)) for spread in spreads]
    symbols = np.concatenate(channels)
    size = 8 * len(pack("adaptive", symbols, alphabet)) / len(symbols)
    assert size < share * entropy(symbols) < share * 8 * len(pack("huffman", symbols, alphabet)) / len(symbols)
    assert size > np.mean([entropy(channel) for channel in channels])


@pytest.mark.parametrize("alphabet", [3, 5, 17, 64])
def test_adaptive_coding_costs_what_forgetting_statistics_say(alphabet):
    """p <- (1 - r) p + r onehot(symbol), in floating point; a symbol is worth half of one that came, at first."""
    rng = np.random.default_rng(alphabet)
    symbols = np.concatenate([laplacian(rng, alphabet, 1500, spread, c) for spread, c in [(0.1, 0.3), (0.2, 0.7)] * 2])
    memory = max(128, 12 * alphabet)
    weights, gain, bits = np.full(alphabet, 0.5), 1.0, 0.0
    for symbol in symbols:
        p = weights / weights.sum()
        bits -= math.log2(p[symbol] * (1 - alphabet * 2.0**-16.5) + 2.0**-16.5)
        weights[symbol] += gain
        gain *= 1 + 1 / memory
    assert 8 * len(encode(symbols, alphabet)) == pytest.approx(bits, rel=1e-3, abs=40)


# --- the least length -----------------------------------------------------------------------


@pytest.mark.parametrize("alphabet, longest", [(2, 11), (3, 7), (4, 5)])
def test_no_sequence_is_shorter_than_the_least(alphabet, longest):
    """Of all there are, and the cheapest is little more than its last word above it."""
    for n in range(1, longest + 1):
        sizes = [8 * len(arithmetic_encode(list(s), Statistics(alphabet)))
                 for s in itertools.product(range(alphabet), repeat=n)]  # fmt: skip
        assert least_bits(n, alphabet) <= min(sizes) < least_bits(n, alphabet) + 32


@pytest.mark.parametrize("alphabet", [2, 3, 5, 17, 64])
@pytest.mark.parametrize("n", [100, 5000, 100_000])
def test_the_least_length_is_near_that_of_one_symbol_again_and_again(alphabet, n):
    """Whichever it is; now and then another costs more, though it may come where weights are halved."""
    least = least_bits(n, alphabet)
    for symbol in (0, alphabet - 1):
        assert least <= 8 * len(arithmetic_encode([symbol] * n, Statistics(alphabet))) < 1.1 * least + 4 * alphabet + 33
    rng = np.random.default_rng(n)
    for share in (1e-4, 1e-2, 0.5):
        symbols = np.where(rng.random(n) < share, rng.integers(0, alphabet, n), 0)
        assert least <= 8 * len(arithmetic_encode(symbols.tolist(), Statistics(alphabet)))


@pytest.mark.parametrize("alphabet, least", [(3, 127), (17, 1000), (1025, 4000)])
def test_a_short_stream_that_claims_many_symbols_is_refused_at_once(alphabet, least):
    """A picture of 67 megapixels has up to 2^25 symbols; of two digits, both are looked at before either is decoded."""
    n = 1 << 25
    counted = write_varint(n)
    streams = [write_varint(alphabet) + counted + bytes(least)]
    if alphabet == 1025:
        first = counted + bytes(100_000)
        streams = [write_varint(alphabet) + write_varint(len(f)) + f + counted + bytes(least) for f in (first, counted)]
    for stream in streams:
        start = time.process_time()
        with pytest.raises(Truncated, match="too short"):
            unpack("adaptive", stream, alphabet, n)
        assert time.process_time() - start < 0.1


@given(st.lists(st.tuples(st.integers(0, 16), st.integers(1, 300)), min_size=1, max_size=12))
@settings(max_examples=40)
def test_runs_are_decoded_as_what_is_no_run(runs):
    symbols = [symbol for symbol, times in runs for _ in range(times)]
    assert decode(encode(np.array(symbols), 17), 17).tolist() == symbols


# --- integers -------------------------------------------------------------------------------


def test_weights_stay_where_the_coder_can_use_them():
    """In range // total at least 13 bits are left of 48, and no weight falls below the floor."""
    statistics = Statistics(64)
    total = statistics.total
    for _ in range(20 * statistics.memory):
        statistics.add(0)
        total = max(total, statistics.total)
    assert total < 2**35
    assert set(statistics.weights[1:]) == {statistics.floor}
    assert 2.0**-17.2 < statistics.floor / statistics.total < 2.0**-16


@given(st.integers(1, 70), st.lists(seeds, max_size=60))
@settings(max_examples=60)
def test_the_sums_of_the_weights_are_right(alphabet, symbols):
    statistics = Statistics(alphabet)
    for symbol in symbols:
        statistics.add(symbol % alphabet)
    cumulative = [0, *itertools.accumulate(statistics.weights)]
    assert statistics.total == cumulative[-1]
    for k in range(alphabet):
        assert statistics.below(k) == cumulative[k]
        assert statistics.find(cumulative[k]) == (k, cumulative[k])
        assert statistics.find(cumulative[k + 1] - 1) == (k, cumulative[k])


def heavy() -> Statistics:
    """Weights so heavy that they hardly change."""
    statistics = Statistics(3)
    statistics.weights = [5 << 28, 7 << 28, 4 << 28]
    statistics.total = sum(statistics.weights)
    return statistics


def test_carries_go_all_the_way():
    """Symbols that keep the interval around 1/2 for long: the encoder writes 7fff ffff ... and must correct it.

    The reference has one number of any length for `low`, and hence no carries.
    """
    statistics, symbols = heavy(), []
    low, width, shift = 0, 1 << 64, 64
    for k in range(300):
        part = width // statistics.total
        point = 1 << (shift - 1) if k < 299 else low + width - 1  # the last symbol is the highest
        symbol, below = statistics.find(min((point - low) // part, statistics.total - 1))
        low, width = low + part * below, part * statistics.weights[symbol]
        while width < 1 << 48:
            low, width, shift = low << 16, width << 16, shift + 16
        statistics.add(symbol)
        symbols.append(symbol)
    code = (low + (1 << 48) - 1) >> 48
    assert low >> (shift - 32) >= 0x80000000
    expected = code.to_bytes((shift - 48) // 8, "big")
    assert expected.startswith(b"\x80" + bytes(40))
    data = arithmetic_encode(symbols, heavy())
    assert data == expected
    assert arithmetic_decode(data, 300, heavy()) == symbols


def test_adaptive_streams_end_where_the_encoder_ended_them():
    data = encode(SAMPLE, 5)
    with pytest.raises(Corrupt, match="end as it should"):  # the same symbols, by a larger number than needed
        decode(data[:-2] + (int.from_bytes(data[-2:], "big") + 1).to_bytes(2, "big"), 5)
