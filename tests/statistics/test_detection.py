"""Finding what matters: AUROC and average precision against counting by hand, errors and signs."""

import numpy as np
import pytest

from benchmark.statistics.detection import auroc, average_precision, detect

NAN = float("nan")


def _truth(**effects: list[list[float | None]]) -> dict[str, list[tuple[float | None, ...]]]:
    return {kind: [tuple(row) for row in rows] for kind, rows in effects.items()}


@pytest.mark.parametrize("seed", range(20))
def test_auroc_is_the_share_of_pairs_in_the_right_order_with_ties_a_half(seed: int) -> None:
    draw = np.random.default_rng(seed)
    sizes, matter = draw.integers(0, 4, 12).astype(float), draw.random(12) < 0.4
    matter[:2] = True, False
    pairs = [(a, b) for a in sizes[matter] for b in sizes[~matter]]
    by_hand = np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])
    assert auroc(sizes, matter) == pytest.approx(by_hand)


def test_auroc_needs_both_sorts() -> None:
    assert np.isnan(auroc(np.array([1.0, 2.0]), np.array([True, True])))
    assert np.isnan(auroc(np.array([1.0, 2.0]), np.array([False, False])))


def test_average_precision_by_hand() -> None:
    # thresholds 3, 2, 1: recall 1/3, 2/3, 1 at precision 1, 2/4 (a tie of three), 3/5
    sizes = np.array([3.0, 2.0, 2.0, 2.0, 1.0, 0.0])
    matter = np.array([True, True, False, False, True, False])
    assert average_precision(sizes, matter) == pytest.approx((1 + 2 / 4 + 3 / 5) / 3)


def test_average_precision_of_constant_scores_is_the_share_that_matters() -> None:
    matter = np.array([True, False, False, False])
    assert average_precision(np.zeros(4), matter) == pytest.approx(0.25)
    assert np.isnan(average_precision(np.zeros(4), np.zeros(4, dtype=bool)))


def test_a_perfect_ranking_has_one_and_the_reverse_less_than_a_half() -> None:
    sizes, matter = np.arange(8.0), np.arange(8) >= 5
    assert auroc(sizes, matter) == average_precision(sizes, matter) == 1
    assert auroc(-sizes, matter) == 0
    assert average_precision(-sizes, matter) < 0.5


def test_exact_scores_are_exact_and_small_ones_count_as_nothing() -> None:
    scores = {"head": np.array([[2.0, 0.004], [-1.0, 0.0]])}
    found = detect(scores, _truth(head=[[0, 0, 2.0], [1, 0, -1.0]]), gap=1.0)
    assert found.verdict == "exact"
    assert (found.components, found.matter, found.sign_errors) == (4, 2, 0)
    assert found.error == pytest.approx(0.004 / 2)
    assert found.auroc == found.average_precision == 1


def test_a_size_that_is_off_is_named_with_its_error() -> None:
    found = detect({"head": np.array([[1.0, 0.0]])}, _truth(head=[[0, 0, 2.0]]), gap=2.0)
    assert found.verdict == "wrong size"
    assert found.error == pytest.approx(0.5)


def test_a_wrong_sign_is_counted_and_an_unsigned_method_is_not_blamed() -> None:
    truth = _truth(head=[[0, 0, 2.0], [0, 1, -1.0]])
    scores = {"head": np.array([[2.0, 1.0, 0.0]])}
    assert detect(scores, truth, gap=1.0).verdict == "wrong sign"
    assert detect(scores, truth, gap=1.0).sign_errors == 1
    unsigned = detect(scores, truth, gap=1.0, metric_units=False, signed=False)
    assert np.isnan(unsigned.sign_errors)
    assert unsigned.verdict == "finds"


def test_what_matters_without_a_number_is_found_and_not_measured() -> None:
    found = detect({"head": np.array([[0.7, 0.0]])}, _truth(head=[[0, 0, None]]), gap=1.0)
    assert found.verdict == "finds"
    assert np.isnan(found.error)


def test_effects_of_another_replacement_are_not_held_against_a_score() -> None:
    scores, truth = {"head": np.array([[1.0, 0.0]])}, _truth(head=[[0, 0, 2.0]])
    assert detect(scores, truth, gap=2.0, effects_apply=False).verdict == "finds"


def test_rounding_errors_find_nothing() -> None:
    found = detect({"head": np.array([[1e-7, 0.0, -1e-9]])}, _truth(head=[[0, 0, None]]), gap=1.0)
    assert found.verdict == "misses"
    assert found.auroc == 0.5


def test_rounding_errors_break_no_tie_between_large_scores() -> None:
    found = detect({"head": np.array([[1.0 + 1e-7, 1.0]])}, _truth(head=[[0, 0, None]]), gap=1.0)
    assert found.auroc == 0.5


def test_kinds_stand_in_one_ranking_and_only_those_that_the_truth_speaks_of() -> None:
    scores = {"head": np.array([[2.0, 0.0]]), "neuron": np.array([[3.0, 0.0, 0.0]])}
    assert detect(scores, _truth(head=[[0, 0, 2.0]]), gap=2.0).verdict == "exact"
    both = detect(scores, _truth(head=[[0, 0, 2.0]], neuron=[]), gap=2.0)
    assert (both.verdict, both.components) == ("misses", 5)


def test_where_components_are_unmeasured_nothing_is_judged() -> None:
    found = detect({"head": np.array([[2.0, NAN, 0.0]])}, _truth(head=[[0, 0, 2.0], [0, 1, 1.0]]), gap=2.0)
    assert (found.components, found.unmeasured, found.matter, found.verdict) == (2, 1, 1, "not judged")
    assert found.auroc == 1


def test_where_nothing_can_be_told_apart_nothing_is_judged() -> None:
    none_scored = detect({"neuron": np.zeros((1, 2))}, _truth(head=[[0, 0, 2.0]]), gap=2.0)
    none_matters = detect({"neuron": np.zeros((1, 2))}, _truth(neuron=[]), gap=2.0)
    assert (none_scored.components, none_scored.verdict) == (0, "not judged")
    assert (none_matters.components, none_matters.verdict) == (2, "not judged")


def test_what_helps_without_a_number_still_has_a_sign() -> None:
    found = detect({"head": np.array([[-0.7, 0.0]])}, _truth(head=[[0, 0, None]]), gap=1.0)
    assert (found.verdict, found.sign_errors) == ("wrong sign", 1)


def test_sizes_of_an_unsigned_method_are_not_held_against_signed_effects() -> None:
    truth = _truth(head=[[0, 0, 2.0], [0, 1, -1.0]])
    found = detect({"head": np.array([[2.0, 1.0, 0.0]])}, truth, gap=1.0, signed=False)
    assert (found.verdict, np.isnan(found.error)) == ("finds", True)
