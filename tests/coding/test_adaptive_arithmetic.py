"""Adaptive arithmetic coding follows a sequence and forgets; its integers stay in their bounds."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import SAMPLE, check_round_trip, laplacian, seeds, skewed

from codec_lib.coding.adaptive_arithmetic import (
    _UNIT,
    LONGEST_MEMORY,
    AdaptiveArithmetic,
    _arithmetic_decode,
    _arithmetic_encode,
    _Statistics,
)
from codec_lib.coding.compressor import WIDEST, entropy
from codec_lib.coding.symbol_streams import pack
from codec_lib.errors import BadData, Corrupt

# --- sizes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("alphabet, spread", [(3, 0.2), (5, 0.1), (17, 0.05), (17, 0.2), (17, 0.5)])
def test_adaptive_coding_is_near_the_entropy_of_a_stationary_source(alphabet, spread):
    symbols = laplacian(np.random.default_rng(alphabet), alphabet, 20_000, spread)
    for data in (
        pack("adaptive", symbols, alphabet),
        AdaptiveArithmetic.from_sequence(symbols, alphabet).encode(symbols),
    ):
        assert 8 * len(data) <= 1.02 * 20_000 * entropy(symbols)


@pytest.mark.parametrize("alphabet, share", [(3, 0.85), (5, 0.8), (17, 0.8), (1025, 0.97)])
def test_adaptive_coding_is_far_below_the_entropy_of_one_that_changes(alphabet, share):
    rng = np.random.default_rng(alphabet)
    spreads = np.exp(rng.uniform(np.log(0.01), np.log(0.15), 30))
    channels = [laplacian(rng, alphabet, 1000, spread, rng.uniform(0.2, 0.8)) for spread in spreads]
    symbols = np.concatenate(channels)
    size = 8 * len(pack("adaptive", symbols, alphabet)) / len(symbols)
    assert size < share * entropy(symbols) < share * 8 * len(pack("huffman", symbols, alphabet)) / len(symbols)
    assert size > np.mean([entropy(channel) for channel in channels])


@pytest.mark.parametrize("alphabet, memory", [(3, 20), (5, 128), (17, 1000)])
def test_adaptive_coding_costs_what_forgetting_statistics_say(alphabet, memory):
    """p <- (1 - r) p + r onehot(symbol), in floating point."""
    rng = np.random.default_rng(memory)
    symbols = np.concatenate([laplacian(rng, alphabet, 1500, spread, c) for spread, c in [(0.1, 0.3), (0.2, 0.7)] * 2])
    p, bits = np.bincount(symbols, minlength=alphabet) / len(symbols), 0.0
    for symbol in symbols:
        bits -= math.log2(p[symbol] * (1 - alphabet * 2.0**-16.5) + 2.0**-16.5)
        p *= memory / (memory + 1)
        p[symbol] += 1 / (memory + 1)
    real = 8 * len(AdaptiveArithmetic.from_sequence(symbols, alphabet, memory).encode(symbols))
    assert real == pytest.approx(bits, rel=1e-3, abs=40)


# --- integers -------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [1, 2, 7, LONGEST_MEMORY])
def test_any_memory_will_do(memory):
    rng = np.random.default_rng(memory)
    for alphabet in (2, 40):
        symbols = np.concatenate([skewed(rng, alphabet, 1500), np.zeros(500, np.int64), np.arange(alphabet)])
        check_round_trip(AdaptiveArithmetic(alphabet, memory), symbols)
        check_round_trip(AdaptiveArithmetic(alphabet, memory, [0] * alphabet), symbols)
        heavy = [LONGEST_MEMORY * _UNIT] + [0] * (alphabet - 1)
        check_round_trip(AdaptiveArithmetic(alphabet, memory, heavy), symbols)


def test_weights_stay_where_the_coder_can_use_them():
    """In range // total at least 13 bits are left at the longest memory, and no weight falls below the floor."""
    statistics = _Statistics([LONGEST_MEMORY * _UNIT] + [0] * (WIDEST - 1), LONGEST_MEMORY)
    total = statistics.total
    for _ in range(5 * LONGEST_MEMORY):
        statistics.add(0)
        total = max(total, statistics.total)
    assert 2**33 < total < 2**35
    assert set(statistics.weights[1:]) == {statistics.floor}
    assert 2.0**-17.2 < statistics.floor / statistics.total < 2.0**-16


@given(st.integers(1, 70), st.integers(1, 300), st.lists(seeds, max_size=60))
@settings(max_examples=60)
def test_the_sums_of_the_weights_are_right(alphabet, memory, symbols):
    statistics = _Statistics([k % 5 for k in range(alphabet)], memory)
    for symbol in symbols:
        statistics.add(symbol % alphabet)
    cumulative = [0, *itertools.accumulate(statistics.weights)]
    assert statistics.total == cumulative[-1]
    for k in range(alphabet):
        assert statistics.below(k) == cumulative[k]
        assert statistics.find(cumulative[k]) == (k, cumulative[k])
        assert statistics.find(cumulative[k + 1] - 1) == (k, cumulative[k])


def test_carries_go_all_the_way():
    """Symbols that keep the interval around 1/2 for long: the encoder writes 7fff ffff ... and must correct it.

    The reference has one number of any length for `low`, and hence no carries.
    """
    weights = [5 << 28, 7 << 28, 4 << 28]  # heavy ones hardly change
    statistics, symbols = _Statistics(weights, LONGEST_MEMORY), []
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
    data = _arithmetic_encode(symbols, _Statistics(weights, LONGEST_MEMORY))
    assert data == expected
    assert _arithmetic_decode(data, 300, _Statistics(weights, LONGEST_MEMORY)) == symbols


# --- states ---------------------------------------------------------------------------------


def test_a_state_is_in_numbers_that_people_can_read():
    state = AdaptiveArithmetic(2, 64, [3 << 18, 1 << 18]).state()
    assert (state["coder"], state["memory"], state["weights"]) == ("adaptive", 64, {"0": 786432, "1": 262144})


def test_golden_bytes():
    """Streams in files depend on these."""
    assert AdaptiveArithmetic.from_sequence(SAMPLE, 5).encode(SAMPLE).hex() == "0e21079bf3"


@pytest.mark.parametrize("bad", [{"memory": 0}, {"memory": 2.0}, {"weights": [1]}, {"weights": [1, 2, 0.5]}])
def test_what_is_no_adaptive_state_is_refused(bad):
    with pytest.raises(BadData):
        AdaptiveArithmetic(3, **bad)


def test_adaptive_streams_end_where_the_encoder_ended_them():
    coder = AdaptiveArithmetic.from_sequence(SAMPLE, 5)
    data = coder.encode(SAMPLE)
    with pytest.raises(Corrupt, match="end as it should"):  # the same symbols, by a larger number than needed
        coder.decode(data[:-2] + (int.from_bytes(data[-2:], "big") + 1).to_bytes(2, "big"))
