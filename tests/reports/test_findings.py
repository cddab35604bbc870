"""Claims about findings: each is there when its rows say so, not otherwise, and claims no more than they do."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from benchmark.analysis.comparisons import compared
from benchmark.analysis.evidence import (
    ABSENT,
    AGREEMENT,
    BEHAVIOUR,
    DECIDING,
    FORMAT,
    LARGEST,
    SIZE,
    UNCONVERGED,
    Evidence,
    _samples,
    evidence,
)
from benchmark.statistics.agreement import pearson
from benchmark.statistics.halves import halves
from benchmark.store.folder import Results, record_run
from reports.findings import (
    FINDINGS,
    MOST,
    agrees_best,
    at_chance,
    findings,
    is_missing,
    not_converged,
    number_format,
    one_pair,
    says_little,
)
from tests.reports.test_reports import add_cell, scores

NO = float("nan")
FEW = "no interval: 8 pairs in 8 clusters, and it takes 16 in 8"


def frames(**rows: list[dict[str, object]]) -> Evidence:
    columns = {
        "agreement": AGREEMENT,
        "size": SIZE,
        "largest": LARGEST,
        "deciding": DECIDING,
        "unconverged": UNCONVERGED,
        "behaviour": BEHAVIOUR,
        "absent": ABSENT,
        "format": FORMAT,
    }
    return Evidence(**{name: pd.DataFrame(rows.get(name, []), columns=list(named)) for name, named in columns.items()})


def agreement(task: str, method: str, value: float, reach: float = NO, **more: object) -> dict[str, object]:
    row = {"model": "m", "kind": "head", "task": task, "method": method, "reference": "exact", "version": "signed"}
    row |= {"value": value, "low": value - reach, "high": value + reach, "decided": False, "floor": False}
    row |= {"ranked": True, "behind": NO, "behind_low": NO, "behind_high": NO, "leads": False, "n_pairs": 32}
    return row | {"n_components": 32, "refusal": "", "sample": task} | more


BEST = {"behind": 0.0, "behind_low": 0.0, "leads": True}
TIED = {"behind": 0.02, "behind_low": -0.01, "leads": True}
BEHIND = {"behind": 0.2, "behind_low": 0.1}


def said(function, found: Evidence) -> str:
    return " ".join(one.text for one in function(found))


def test_the_best_is_named_only_where_its_difference_from_all_others_is_told_from_0() -> None:
    alone = [agreement("ioi", "a", 0.9, 0.05, **BEST), agreement("ioi", "b", 0.7, 0.05, **BEHIND)]
    tied = [agreement("sva", "a", 0.8, 0.1, **BEST), agreement("sva", "b", 0.78, 0.1, **TIED)]
    assert said(agrees_best, frames(agreement=alone)) == (
        "**Heads:** Pearson with exact on ioi: `a` 0.90 [0.85, 0.95], `b` 0.70 [0.65, 0.75]. `a` is told from all "
        "others as the best."
    )
    both = said(agrees_best, frames(agreement=alone + tied))
    assert "`a` 0.85 [0.79, 0.91] (least on sva, 0.80 [0.70, 0.90]), `b` 0.74 [0.68, 0.80] (least on ioi, 0.70" in both
    assert both.endswith("The best is told from the others on 1 of 2 tasks: `a` on ioi.")
    assert said(agrees_best, frames(agreement=tied)).endswith(" None is told from all others as the best.")
    other = [agreement("sva", "a", 0.8, 0.1, **BEST), agreement("sva", "b", 0.6, 0.1, **BEHIND)]
    assert said(agrees_best, frames(agreement=alone + other)).endswith("as the best on both tasks.")
    assert agrees_best(frames()) == []


def test_without_intervals_nobody_is_called_best_and_one_method_is_no_ranking() -> None:
    few = [agreement("ioi", name, value, refusal=FEW) for name, value in (("a", 0.9), ("b", 0.7))]
    words = said(agrees_best, frames(agreement=few))
    assert words.endswith("`a` 0.90, `b` 0.70. None has an interval, so none can be called best.")
    assert "told" not in words
    assert said(agrees_best, frames(agreement=[agreement("ioi", "a", 0.9, 0.1)])).endswith(
        "Nothing else can be ranked."
    )


def test_where_the_least_prints_like_the_mean_and_has_no_interval_it_is_not_said() -> None:
    rows = [agreement(task, "a", value) for task, value in (("ioi", 0.998), ("sva", 0.999))]
    assert "tasks: `a` 1.00. It" in said(agrees_best, frames(agreement=rows))
    rows[0] |= {"low": 0.99, "high": 1.0}
    assert "`a` 1.00 (least on ioi, 1.00 [0.99, 1.00])." in said(agrees_best, frames(agreement=rows))


def test_a_method_that_wasn_t_scored_on_all_tasks_has_the_mean_of_those_that_are_named() -> None:
    rows = [agreement(task, "a", 0.9, 0.1) for task in ("ioi", "sva", "capitals")]
    rows += [agreement(task, "b", value, 0.1) for task, value in (("ioi", 0.5), ("sva", 0.7))]
    rows += [agreement("sva", "c", 0.4, 0.1)]
    words = said(agrees_best, frames(agreement=rows))
    assert "over 3 tasks: `a` 0.90 [0.84, 0.96] (least on ioi, 0.90 [0.80, 1.00]), " in words
    assert (
        "`b` 0.60 [0.53, 0.67] (of 2 tasks; least on ioi, 0.50 [0.40, 0.60]), `c` 0.40 [0.30, 0.50] (on sva alone)."
        in words
    )


def test_what_may_not_be_called_best_is_not_ranked() -> None:
    rows = [agreement("ioi", "a", 0.8, 0.1, **BEST), agreement("ioi", "random", 0.99, 0.01, ranked=False, floor=True)]
    assert "random" not in said(agrees_best, frames(agreement=rows))


def test_more_kinds_than_have_a_finding_are_pointed_to() -> None:
    rows = [agreement("ioi", "a", 0.9, 0.1, kind=kind) for kind in ("head", "neuron", "mlp", "query")]
    found = agrees_best(frames(agreement=rows))
    assert len(found) == 2
    assert found[-1].text.endswith("2 more matrices below.")


def held(share: float, **more: object) -> dict[str, object]:
    row = {"model": "m", "kind": "head", "task": "sva", "method": "a", "share": share, "pairs": "sva-7", "refusal": ""}
    return row | {"n_pairs": 32, "alone": False} | more


def test_a_pair_decides_or_none_does_or_too_few_can_tell() -> None:
    assert "pair sva-7 holds 42% of the mean scores of `a` on heads of sva" in said(
        one_pair, frames(deciding=[held(0.42)])
    )
    none = said(one_pair, frames(deciding=[held(0.2), held(0.1, method="b")]))
    assert none == "**No one pair decides:** at most, pair sva-7 holds 20% of the mean scores of `a` on heads of sva."
    cluster = said(one_pair, frames(deciding=[held(0.5, pairs="sva-1 sva-2")]))
    assert "the 2 pairs with sva-1 hold 50%" in cluster
    few = said(one_pair, frames(deciding=[held(0.9, refusal=FEW, n_pairs=8)]))
    assert few.startswith("**Too few pairs:** 8 pairs, and an interval takes 16 in 8 clusters.")
    assert "sva-7" not in few
    assert said(one_pair, frames(deciding=[held(1.0, refusal=FEW, n_pairs=1, alone=True)])).startswith(
        "**One pair** is all"
    )
    many = said(one_pair, frames(deciding=[held(0.4, task=str(place)) for place in range(5)]))
    assert "likewise in 2 more cases" in many
    assert one_pair(frames()) == []


def test_a_floor_that_is_not_told_from_the_best_is_named_and_one_that_is_behind_is_not() -> None:
    floor = agreement("sva", "random", 0.9, 0.05, floor=True, ranked=False, behind=0.02, behind_low=-0.03)
    assert "`random`, which sees no metric, isn't told from the best on heads of sva" in said(
        says_little, frames(agreement=[floor])
    )
    assert says_little(frames(agreement=[floor | {"behind_low": 0.01}])) == []


def sized(task: str, method: str, size: float, low: float = NO, high: float = NO) -> dict[str, object]:
    row = {"model": "m", "kind": "head", "task": task, "method": method, "reference": "exact"}
    return row | {"size": size, "low": low, "high": high}


def test_scores_of_another_size_are_named_where_the_interval_tells_them_from_twice_or_half() -> None:
    rows = [
        sized("sva", "a", 0.006, 0.002, 0.009), sized("ioi", "a", 0.4, 0.3, 0.49), sized("sva", "b", 76.0, 49.0, 104.0)
    ]  # fmt: skip
    assert said(says_little, frames(size=rows)) == (
        "**What a correlation hides:** `a`'s scores are 0.006 [0.002, 0.009] times as large as `exact`'s on heads of "
        "sva (half or less on 2 tasks); `b`'s scores are 76 [49, 104] times as large as `exact`'s on heads of sva."
    )
    assert says_little(frames(size=[sized("sva", "a", 0.4, 0.3, 0.6), sized("ioi", "a", 2.4, 1.9, 2.9)])) == []
    assert "`a`'s scores are 0.4 times as large" in said(says_little, frames(size=[sized("sva", "a", 0.4)]))
    assert says_little(frames(size=[sized("sva", "a", 0.0), sized("sva", "b", NO)])) == []


def test_a_component_that_makes_the_correlation_is_named() -> None:
    rows = [
        {"model": "m", "kind": "head", "task": task, "method": "exact", "component": "L0H0", "share": share}
        for task, share in (("sva", 0.95), ("ioi", 0.997), ("gender-bias", 0.5))
    ]
    assert said(says_little, frames(largest=rows)) == (
        "**What a correlation hides:** One of the heads of ioi holds 99.7% of the sum of squares (90% or more on 2 "
        "tasks): a correlation there is about that one."
    )
    assert says_little(frames(largest=rows[2:])) == []


def test_a_lead_that_two_digits_dont_show_is_called_so() -> None:
    near = {"behind": 0.0004, "behind_low": 0.0001}
    rows = [agreement("ioi", "a", 0.9993, 0.0005, **BEST), agreement("ioi", "b", 0.9989, 0.0005, **near)]
    rows += [agreement("sva", "a", 0.8, 0.1, **BEST), agreement("sva", "b", 0.78, 0.1, **TIED)]
    words = "told from the others on 1 of 2 tasks: `a` on ioi (by less than 0.01 on ioi)."
    assert said(agrees_best, frames(agreement=rows)).endswith(words)
    undecided = agreement("hypernymy", "a", 0.9)
    assert "on 1 of 2 tasks with intervals: `a`" in said(agrees_best, frames(agreement=[*rows, undecided]))


def test_what_has_not_converged_is_named_with_what_it_misses() -> None:
    row = {"model": "m", "task": "sva", "method": "ig", "share": 0.12, "rounding": False}
    assert said(not_converged, frames(unconverged=[row])) == (
        "**Not converged:** `ig` on sva (missing up to 12% of the gap)."
    )
    rounding = row | {"share": NO, "rounding": True}
    assert said(not_converged, frames(unconverged=[rounding])) == "**Mere rounding:** `ig` on sva."
    assert not_converged(frames()) == []


def right(task: str, low: float, high: float, count: int = 8) -> dict[str, object]:
    return {"model": "m", "task": task, "right": count, "of": 8, "accuracy": count / 8, "low": low, "high": high}


def test_a_model_that_may_guess_is_named_with_its_interval() -> None:
    good, guess, wrong = right("ioi", 0.7, 1.0), right("sva", 0.3, 0.9, 5), right("anti", 0.0, 0.3, 0)
    assert said(at_chance, frames(behaviour=[good, right("b", 0.51, 0.9, 6)])) == (
        "**The model** is better than a guess on both tasks: accuracy 0.75 [0.51, 0.90] on b to 1.00."
    )
    alike = [right(task, 0.6, 1.0, 8) for task in ("a", "b", "c")]
    assert said(at_chance, frames(behaviour=alike)).endswith("on all 3 tasks: accuracy 1.00 [0.60, 1.00].")
    words = said(at_chance, frames(behaviour=[good, guess, wrong]))
    assert "on 2 of 3 tasks: sva (right on 5 of 8 pairs, 95% interval 0.30 to 0.90); anti" in words
    assert words.count("worse than a guess") == 1
    assert "isn't shown to be better than a guess on sva (right" in said(at_chance, frames(behaviour=[guess]))
    assert at_chance(frames()) == []


def test_what_is_missing_is_said_and_that_nothing_is() -> None:
    assert said(is_missing, frames()) == "**Missing:** nothing; every planned cell is here."
    rows = [
        {"what": "failed", "task": task, "name": "brittle", "why": "ValueError: no"} for task in ("ioi", "sva")
    ] + [
        {"what": "missing", "task": "ioi", "name": "shapley", "why": "3 of 6 pairs are there"},
        {"what": "damaged", "task": "", "name": "cells/x", "why": ""},
        {"what": "left out", "task": "tag-questions", "name": "", "why": "none"},
        {"what": "unmeasured", "task": "ioi", "name": "exact", "why": "64 of 2048 neurons"},
    ]  # fmt: skip
    assert said(is_missing, frames(absent=rows)) == (
        "**Missing:** `brittle` failed on ioi and sva (ValueError: no); `shapley` isn't finished on ioi (3 of 6 pairs "
        "are there); 1 cell is damaged; the tokenizer carries no row of tag-questions; `exact` measured 64 of 2048 "
        "neurons, and agreement is over these."
    )
    long = "Error: " + "word " * 40
    rows = [{"what": "failed", "task": "ioi", "name": name, "why": why} for name, why in (("a", long), ("b", "No."))]
    assert said(is_missing, frames(absent=rows)) == (
        f"**Missing:** `a` failed on ioi (Error: {'word ' * 16}...); `b` failed on ioi (No)."
    )


def test_what_the_number_format_hides_is_said_by_name_beside_all_else() -> None:
    row = {"model": "m", "kind": "neuron", "task": "ioi", "method": "exact", "reference": True, "dtype": "bfloat16"}
    row |= {"resolution": 0.01, "share": 0.63, "in_top": 3, "k": 50, "rests": True}
    assert number_format(frames()) == []
    assert number_format(frames(format=[row | {"dtype": "float32", "rests": False}])) == []
    assert said(number_format, frames(format=[row])) == (
        "**The number format:** `exact`, which others are held against, was computed in bfloat16: a reference takes "
        "float32. Of `exact` on neurons of ioi, 63% of the mean scores, and 3 of its top 50, are below the metric's "
        "resolution: noise of bfloat16, and so is what agrees with them."
    )
    small = frames(format=[row | {"dtype": "float32", "in_top": 0}, row | {"dtype": "float32", "task": "sva"}])
    assert said(number_format, small).startswith(
        "**The number format:** Of `exact` on neurons of ioi and sva, up to 63% of the mean scores, and 3"
    )


def test_no_more_is_said_than_fits_the_first_screen() -> None:
    rows = [agreement("ioi", "a", 0.9, 0.1, kind=kind, **BEST) for kind in ("head", "neuron")]
    floor = agreement("ioi", "random", 0.9, 0.1, floor=True, ranked=False, behind_low=-0.1)
    row = {"model": "m", "task": "sva", "method": "ig", "share": 0.12, "rounding": False}
    full = frames(agreement=[*rows, floor], deciding=[held(0.4)], unconverged=[row], behaviour=[right("ioi", 0.7, 1)])
    assert sum(len(function(full)) for function in FINDINGS) == MOST + 1
    assert len(findings(full)) == MOST
    assert [one.name for one in findings(full)] == [
        "agrees best", "agrees best", "one pair", "not converged", "at chance", "missing"
    ]  # fmt: skip


def test_sizes_and_the_largest_share_are_those_of_the_stored_scores(folder: Path) -> None:
    found = found_in(folder)
    exact, other = (scores(name, PAIRS).mean(0) for name in ("activation-patching", "attribution-patching"))
    size = found.size.set_index("method")["size"]
    assert size["attribution-patching"] == pytest.approx(np.sqrt((other**2).sum() / (exact**2).sum()), rel=1e-5)
    assert "random" not in size
    [row] = found.largest.itertuples()
    assert row.share == pytest.approx((exact**2).max() / (exact**2).sum(), rel=1e-5)
    assert found.size.low.notna().all()


PAIRS = 24


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record_run(tmp_path, {"asked": {}, "resolved": {}})
    for name in ("activation-patching", "attribution-patching", "integrated-gradients", "random"):
        add_cell(tmp_path, name, n_pairs=PAIRS)
    return tmp_path


def found_in(folder: Path) -> Evidence:
    results = Results(folder)
    return evidence(results, compared(results, tested=False))


def test_the_difference_and_its_interval_are_those_of_the_same_halves(folder: Path) -> None:
    noisy = scores("integrated-gradients", PAIRS) + np.random.default_rng(1).normal(size=(4, 5))
    add_cell(folder, "integrated-gradients", n_pairs=PAIRS, values=noisy.astype(np.float32))
    rows = found_in(folder).agreement.set_index("method")
    flat = {
        name: (noisy if name == "integrated-gradients" else scores(name, PAIRS)).astype(np.float32).reshape(PAIRS, -1)
        for name in ("activation-patching", "attribution-patching", "integrated-gradients")
    }

    def lead(kept: np.ndarray) -> float:
        exact, best, other = (values[kept].astype(float).mean(0) for values in flat.values())
        return pearson(best, exact) - pearson(other, exact)

    split = halves(PAIRS)
    draws = [lead(half) for first in split.first for half in (first, ~first)]
    low, high = split.interval(lead(np.full(PAIRS, True)), np.array(draws), -2.0, 2.0)
    row = rows.loc["integrated-gradients"]
    assert [row.behind, row.behind_low, row.behind_high] == pytest.approx([lead(np.full(PAIRS, True)), low, high])
    assert row.behind_low > 0
    assert list(rows.leads) == [True, False, False]
    assert bool(rows.floor["random"])


def test_tasks_that_share_pairs_are_one_sample(folder: Path) -> None:
    for task, metric in (("ioi", "prob_diff"), ("sva", "logit_diff")):
        for name in ("activation-patching", "attribution-patching"):
            add_cell(folder, name, task=task, metric=metric, n_pairs=PAIRS)
    samples = found_in(folder).agreement.groupby("task")["sample"].unique()
    twice = [one for task, one in samples.items() if "ioi" in task]
    assert [len(one) for one in samples] == [1, 1, 1]
    assert twice[0] == twice[1] != samples["sva"]


def test_two_samples_that_a_third_shares_clusters_with_are_one() -> None:
    clusters = {"a": ["x", ""], "b": ["y", ""], "c": ["z", ""], "d": ["x", "y"]}
    parts = []
    for name, held in clusters.items():
        key = SimpleNamespace(task=SimpleNamespace(name=name), pair_ids=["1", "2"])
        parts.append(SimpleNamespace(section=SimpleNamespace(slug=name, clusters=held, n_pairs=2, key=key)))
    found = _samples(parts)
    assert found["a"] == found["b"] == found["d"] != found["c"]  # no cluster is none in common


def test_equal_methods_share_the_lead_and_a_method_that_is_exact_by_construction_is_not_ranked(folder: Path) -> None:
    same = scores("attribution-patching", PAIRS)
    add_cell(folder, "two-sided", n_pairs=PAIRS, values=same)
    path = {"options": {"path": "component"}, "label": "integrated-gradients:path=component"}
    add_cell(folder, "integrated-gradients", n_pairs=PAIRS, values=scores("activation-patching", PAIRS), **path)
    rows = found_in(folder).agreement.set_index("method")
    assert list(rows.index[rows.leads & rows.ranked]) in (
        ["attribution-patching", "two-sided"],
        ["attribution-patching", "integrated-gradients", "two-sided"],
    )
    assert rows.value["integrated-gradients:path=component"] == pytest.approx(1)
    assert not rows.ranked["integrated-gradients:path=component"]
    assert not rows.ranked["random"]


def test_a_method_that_a_pair_decides_is_neither_best_nor_compared(folder: Path) -> None:
    values = scores("attribution-patching", PAIRS)
    values[5] += 900 * values[5]
    add_cell(folder, "attribution-patching", n_pairs=PAIRS, values=values)
    found = found_in(folder)
    row = found.agreement.set_index("method").loc["attribution-patching"]
    assert row.decided
    assert np.isnan(row.behind)
    assert not row.leads
    [words] = [one.text for one in findings(found) if one.name == "one pair"]
    assert words.startswith("**One pair decides:** pair ioi-5 holds")
    assert "On no task do two of them have an interval" in findings(found)[0].text


def test_what_is_not_there_is_found_in_the_folder(folder: Path) -> None:
    add_cell(folder, "shapley", n_pairs=PAIRS, error="out of\nmemory")
    damaged = add_cell(folder, "hisp", n_pairs=PAIRS)
    (damaged / "scores.safetensors").write_bytes(b"")
    resolved = {"cells": ["feedbeef"], "names": {"feedbeef": "sva x conductance"}, "left_out": {"tag-questions": "x"}}
    record_run(folder, {"asked": {}, "resolved": resolved})
    rows = found_in(folder).absent
    assert [tuple(row)[:3] for row in rows[rows.what != "damaged"].itertuples(index=False)] == [
        ("failed", "ioi", "shapley"), ("missing", "sva", "conductance"), ("left out", "tag-questions", "")
    ]  # fmt: skip
    assert rows.why.iloc[0] == "out of memory"
    [name] = (
        rows.name[rows.what == "damaged"] if isinstance(rows.name, pd.Series) else rows["name"][rows.what == "damaged"]
    )
    assert name.startswith("cells/pocket/ioi/hisp")
