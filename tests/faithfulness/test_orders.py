"""Orders in which components are kept: what they promise of ties, chance, and the search."""

from itertools import permutations

import numpy as np

from benchmark.faithfulness.orders import Players, first, greedy, matched_orders, random_orders, ranked

THREE = Players(
    {
        "head": np.array([[True, True], [True, False]]),
        "mlp": np.array([[True], [True]]),
    }
)


def test_players_are_those_that_take_part_kind_by_kind() -> None:
    assert len(THREE) == 5
    assert (THREE.kind.tolist(), THREE.layer.tolist()) == ([0, 0, 0, 1, 1], [0, 0, 1, 0, 1])
    scores = {"head": np.array([[1.0, 2], [3, np.nan]]), "mlp": np.array([[5.0], [6]])}
    assert THREE.of(scores).tolist() == [1, 2, 3, 5, 6]
    masks = THREE.masks(np.array([[True, False, False, True, False]]))
    assert masks["head"].tolist() == [[[1, 0], [0, 1]]]  # who takes no part is live
    assert masks["mlp"].tolist() == [[[1], [0]]]


def test_the_largest_comes_first_whatever_the_scale_and_ties_favour_no_layer() -> None:
    scores = np.random.default_rng(0).normal(size=50)
    assert scores[ranked(scores)].tolist() == sorted(scores, reverse=True)
    assert ranked(scores).tolist() == ranked(np.tanh(scores) * 3 + 1).tolist()
    ties = ranked(np.zeros(1000))
    assert 400 < ties[:500].mean() < 600
    assert ties.tolist() != list(range(1000))
    assert ties.tolist() == ranked(np.zeros(1000)).tolist()


def test_sets_are_nested_and_as_large_as_asked() -> None:
    order = np.array([2, 0, 3, 1])
    assert first(order, [0, 1, 3, 4]).tolist() == [
        [False] * 4, [False, False, True, False], [True, False, True, True], [True] * 4,
    ]  # fmt: skip


def test_matched_orders_keep_kind_layer_and_sign_at_each_place() -> None:
    there = {"head": np.ones((6, 8), bool), "mlp": np.ones((6, 1), bool)}
    players = Players(there)
    scores = np.random.default_rng(1).normal(size=len(players))
    order = ranked(scores)
    drawn = matched_orders(players, scores, order, 30, seed=0)
    for draw in drawn:
        assert sorted(draw) == list(range(len(players)))
        for known in (players.kind, players.layer, np.sign(scores)):
            np.testing.assert_array_equal(known[draw], known[order])
    places = {tuple(draw[:3]) for draw in drawn}
    assert len(places) > 10
    assert len({tuple(draw) for draw in random_orders(9, 30, 0)}) == 30


def test_the_search_adds_what_raises_the_metric_most() -> None:
    """Against every order, on a game whose best pair isn't its best two by themselves."""
    worth = np.array([1.0, 0.9, 0.2, -0.5])

    def value(sets: np.ndarray) -> np.ndarray:
        both = sets[:, 2] & sets[:, 3]
        return sets @ worth + 2 * both - 0.85 * (sets[:, 0] & sets[:, 1])

    found = greedy(4, value)
    assert found[0] == 0
    for size in range(1, 5):
        prefix = set(found[: size - 1].tolist())
        options = [order for order in permutations(range(4), size) if set(order[:-1]) == prefix]
        assert value(first(found, [size]))[0] == max(value(np.isin(np.arange(4), order)[None])[0] for order in options)
