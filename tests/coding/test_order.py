"""The coding orders by what they promise, and the walk against a gather written out; nobody sees what is not coded."""

import itertools

import pytest
import torch
from torch import Tensor

from codec_lib.coding.order import CHECKERBOARD, ONE_GROUP, RASTER, REACH, WAVEFRONT, Order, walk

ORDERS = [ONE_GROUP, CHECKERBOARD, RASTER, WAVEFRONT]
SIZES = list(itertools.product(range(1, 10), range(1, 8)))
SOME = [(1, 1), (1, 6), (5, 1), (2, 2), (4, 3), (3, 7), (6, 5)]

every_order = pytest.mark.parametrize("order", ORDERS, ids=lambda order: order.name)


def neighbours(order: Order, y: int, x: int, h: int, w: int) -> list[tuple[int, int] | None]:
    """The places inside the latent that the mask shows to a position, row by row; None beyond the border."""
    found = []
    for dy, dx in itertools.product(range(-REACH, REACH + 1), repeat=2):
        if order.mask[dy + REACH][dx + REACH]:
            inside = 0 <= y + dy < h and 0 <= x + dx < w
            found.append((y + dy, x + dx) if inside else None)
    return found


def pairs(order: Order, h: int, w: int):
    """(position, neighbour that the mask shows to it), over the whole latent."""
    for p in itertools.product(range(h), range(w)):
        for q in neighbours(order, *p, h, w):
            if q is not None:
                yield p, q


# --- orders -----------------------------------------------------------------------------------


@every_order
def test_groups_partition_all_positions_in_the_order_of_time(order):
    for h, w in SIZES:
        groups, times = order.groups(h, w), order.times(h, w).flatten()
        assert times.shape == (h * w,)
        assert sorted(torch.cat(groups).tolist()) == list(range(h * w))
        assert all(group.dtype == torch.int64 and len(group) > 0 for group in groups)
        assert all(len(times[group].unique()) == 1 for group in groups)
        assert (torch.stack([times[group[0]] for group in groups]).diff() > 0).all()


@pytest.mark.parametrize(
    ("order", "drawn"),
    [
        (ONE_GROUP, "..... ..... ..... ..... ....."),
        (CHECKERBOARD, ".#.#. #.#.# .#.#. #.#.# .#.#."),
        (RASTER, "##### ##### ##... ..... ....."),
        (WAVEFRONT, "##### ##### ##... ..... ....."),
    ],
)
def test_masks_are_those_of_the_papers(order, drawn):
    assert " ".join("".join("#" if shown else "." for shown in row) for row in order.mask) == drawn
    assert len(order.offsets()) == drawn.count("#")
    assert order.offsets() == sorted(order.offsets())  # row by row
    assert all(order.mask[dy + REACH][dx + REACH] for dy, dx in order.offsets())


def test_orders_as_drawn_in_their_module():
    assert ONE_GROUP.times(3, 4).unique().tolist() == [0]
    assert CHECKERBOARD.times(3, 4).tolist() == [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]]
    assert RASTER.times(3, 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert WAVEFRONT.times(3, 4).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]


def test_the_number_of_groups():
    for h, w in SIZES:
        assert len(ONE_GROUP.groups(h, w)) == 1
        assert len(CHECKERBOARD.groups(h, w)) == min(2, h * w)
        assert len(RASTER.groups(h, w)) == h * w
        assert len(WAVEFRONT.groups(h, w)) == h * w - max(0, w - 3) * (h - 1) == (h - 1) * min(w, 3) + w
    assert len(WAVEFRONT.groups(32, 48)) == 48 + 3 * 31 == 141  # a Kodak picture
    assert [order.many for order in ORDERS] == [False, False, True, True]


@pytest.mark.parametrize("order", [RASTER, WAVEFRONT], ids=lambda order: order.name)
def test_the_whole_causal_context_is_coded_before(order):
    for h, w in SIZES:
        times = order.times(h, w)
        assert all(times[q] < times[p] for p, q in pairs(order, h, w))


def test_the_wavefront_loses_nothing_by_going_faster():
    """With one time step a row less, some position would be coded with its neighbour up and to the right."""
    times = torch.arange(6)[:, None] * 2 + torch.arange(7)[None]
    assert not all(times[q] < times[p] for p, q in pairs(WAVEFRONT, 6, 7))


def test_anchors_know_none_of_their_neighbours_and_the_others_all_of_them():
    for h, w in SIZES:
        times = CHECKERBOARD.times(h, w)
        for p, q in pairs(CHECKERBOARD, h, w):
            assert times[q] == 1 - times[p]
        assert times[0, 0] == 0
        around = {q for p, q in pairs(CHECKERBOARD, h, w) if times[p] == 1}
        assert h * w == 1 or around == set(map(tuple, (times == 0).nonzero().tolist()))  # no anchor is useless


@every_order
def test_a_neighbour_is_shown_to_just_those_who_come_after_it(order):
    """So a convolution over all that is shown sees what the walk sees."""
    for h, w in SIZES:
        times, shown = order.times(h, w), order.shown(h, w)
        assert shown.dtype == torch.bool and shown.shape == (h, w)
        assert shown.flatten().tolist() == [t < times.max() for t in times.flatten()]
        assert all(bool(shown[q]) == bool(times[q] < times[p]) for p, q in pairs(order, h, w))


# --- the walk ---------------------------------------------------------------------------------


def latent(h: int, w: int, seed: int = 0) -> Tensor:
    """(2, 3, h, w), float64, no value twice."""
    return torch.randn(2, 3, h, w, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def rows(t: Tensor) -> Tensor:
    return t.flatten(2).transpose(1, 2)  # (B, h w, M)


@every_order
@pytest.mark.parametrize(("h", "w"), SOME)
def test_the_walk_shows_what_is_coded_and_zeros_elsewhere(order, h, w):
    y = latent(h, w)
    times = order.times(h, w)
    taps = sum(map(sum, order.mask))
    seen, coded = [], []

    def predict(positions: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        first = not times.flatten()[positions].any()
        assert around.shape == (2, len(positions), 0 if first else taps, 3) and around.dtype == torch.float64
        for k, p in enumerate([] if first else positions.tolist()):
            here = divmod(p, w)
            for tap, q in enumerate(neighbours(order, *here, h, w)):
                known = q is not None and times[q] < times[here]
                expected = y[:, :, q[0], q[1]] if known else torch.zeros(2, 3, dtype=torch.float64)
                assert torch.equal(around[:, k, tap], expected)
        seen.append(positions)
        return rows(y)[:, positions], positions

    def visit(positions: Tensor, values: Tensor, extra: Tensor) -> Tensor:
        assert positions is extra is seen[-1]  # the two of each group come in turn
        coded.append(positions)
        return values

    y_hat = walk(order, torch.full_like(y, torch.nan), predict, visit)
    assert torch.equal(y_hat, y)
    assert [p.tolist() for p in coded] == [group.tolist() for group in order.groups(h, w)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_walk_keeps_the_type_of_its_latent(dtype):
    y = latent(3, 4).to(dtype)
    y_hat = walk(WAVEFRONT, y, lambda p, around: (p, around), lambda p, _, around: around.sum(2) + 1)
    assert y_hat.dtype == dtype and y_hat.shape == y.shape


TAPS = torch.tensor([7.0, 1, 8, 2, 8, 1, 8, 2, 8, 4, 5, 9], dtype=torch.float64)


def scrambled(order: Order, symbols: Tensor) -> Tensor:
    """y_hat when the mean is a sum of the neighbours modulo 997, in integers."""

    def predict(positions: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        mean = (around * TAPS[: around.shape[2], None]).sum(2) % 997
        return mean, mean

    return walk(order, symbols, predict, lambda positions, mean, _: rows(symbols)[:, positions] + mean)


def test_the_wavefront_gives_what_raster_order_gives():
    for h, w in SIZES:
        symbols = torch.round(5 * latent(h, w))
        assert torch.equal(scrambled(WAVEFRONT, symbols), scrambled(RASTER, symbols))
    assert not torch.equal(scrambled(CHECKERBOARD, symbols), scrambled(RASTER, symbols))


def parameters(order: Order, symbols: Tensor) -> Tensor:
    """What is predicted at each position, (B, M, h, w), by a rule that every neighbour raises."""
    means = torch.empty_like(symbols)

    def predict(positions: Tensor, around: Tensor) -> tuple[Tensor, Tensor]:
        mean = 1 + (around * TAPS[: around.shape[2], None]).sum(2) / 100
        means.flatten(2)[:, :, positions] = mean.transpose(1, 2)
        return mean, mean

    walk(order, symbols, predict, lambda positions, mean, _: rows(symbols)[:, positions] + mean)
    return means


@every_order
@pytest.mark.parametrize(("h", "w"), SOME)
def test_a_symbol_changes_nothing_earlier_and_all_later_that_look_at_it(order, h, w):
    symbols = latent(h, w).abs()
    times, before = order.times(h, w), parameters(order, symbols)
    for q in itertools.product(range(h), range(w)):
        other = symbols.clone()
        other[:, :, q[0], q[1]] += 1
        change = parameters(order, other) - before
        assert not change[:, :, times <= times[q]].any()
        for p, neighbour in pairs(order, h, w):
            if neighbour == q and times[q] < times[p]:
                assert (change[:, :, p[0], p[1]] > 0).all()
