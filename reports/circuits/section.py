"""The section on circuits: is what a method ranks first enough, and does the method that agrees best find the best?"""

from collections.abc import Iterator
from functools import partial
from math import comb
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd

from benchmark.analysis.circuits import BY_CHANCE, REDUNDANT, circuit_curves, circuit_numbers, games, outdated
from benchmark.analysis.comparisons import Comparisons
from benchmark.analysis.judges import Judges, overall, tops_of, two_judges
from benchmark.analysis.sections import slug
from benchmark.components import COUNTERFACTUAL, plural
from benchmark.statistics.halves import FEWEST_CLUSTERS, FEWEST_PAIRS
from benchmark.store.folder import Results
from benchmark.words import counted
from reports.circuits.curves import faithfulness_curves
from reports.writing.blocks import Block, Fold, Heading, Paragraph, Picture, Table, number, with_interval

EXCEEDS = 1.1  # faithfulness from which a circuit is marked
LEAD = "A **circuit** is the first k components of an order, with all others of its kinds replaced."
WHAT = (
    "**Circuit**: the first k components of an order; all others of its kinds are replaced, and other kinds stay live. "
    "**Faithfulness**: the share of the behaviour that it keeps, 0 with all replaced, 1 with none. Orders are of "
    "scores on one split of the pairs, circuits are measured on the other."
)
HOW = (
    "**Share of best**: the area under faithfulness over log size, from that of random orders (0) to that of the best "
    "order known (1). What exceeds the model counts as 1: to push beyond it isn't to keep more. `+`: at some size it "
    f"exceeds it by more than {EXCEEDS - 1:.0%}; `≠`, `§`: the metrics of all and of nothing aren't told apart, or "
    "there are too few pairs to say. **CPR, CMD**: areas of the Mechanistic Interpretability Benchmark at its ten "
    "sizes; CPR rewards circuits that exceed the model (it is above .999 only there), CMD is 0 for one that is neither "
    "less nor more than the model."
)
DETAILS = (
    "**Most kept**: the largest faithfulness at any size; **top keeps**: that of the top; **rest keeps**: that of all "
    "but the top (0: the top is complete); **above random**: share of random orders whose circuit of that size keeps "
    f"less; **redundant**: members of the top whose leaving changes faithfulness by less than {REDUNDANT}."
)
CHANCE = (
    "**Random orders** are drawn for circuits, by chance alone, or with kind, layer and sign of exact patching's score "
    "kept at each place. `random` is a method, which scores by chance and so has one order."
)
MADE = (WHAT, HOW, DETAILS, CHANCE)  # said in Methods
MARKS = {"+": "exceeds the model: read CMD", "§": "too few pairs to tell", "≠": "a ratio of noise"}
FEWEST_METHODS = 3  # that have a rank correlation
NO_SHARE = "No order has a share of the best circuit: that takes random orders, and one order that is better."


def circuits_blocks(results: Results, parts: list[Comparisons]) -> list[Block]:
    """All blocks on circuits; none where none was measured."""
    blocks: list[Block] = [Paragraph(words) for words in outdated_words(results)]
    if not games(results):
        return blocks
    tops = tops_of(parts)
    numbers, curves, judges = circuit_numbers(results, tops), circuit_curves(results, tops), two_judges(results, parts)
    blocks.append(Paragraph(LEAD))
    for (model, kinds), of_kind in numbers.groupby(["model", "kinds"], sort=False):
        name, main = f"{kind_words(str(kinds))} of {model}", main_way(of_kind)
        shown = of_kind[[way_of(row) == main for row in of_kind.itertuples()]]
        stem = slug("circuits", *[str(model)] * (numbers.model.nunique() > 1), str(kinds))
        judged = judges_of(judges, of_kind)
        of_curves = curves[(curves.model == model) & (curves.kinds == kinds)]
        drawn = one_ranking(of_curves[[way_of(row) == main for row in of_curves.itertuples()]])
        drawn = drawn[drawn.groupby("case").phi.transform(lambda phi: phi.notna().any())]
        blocks += [Heading(name[0].upper() + name[1:], 3), Paragraph(measured_words(shown))]
        if judged:
            blocks.append(Paragraph(judged_words(judged)))
        blocks.append(share_table(of_kind, f"{stem}-shares") if of_kind.share.notna().any() else Paragraph(NO_SHARE))
        if len(drawn):
            blocks.append(
                Picture(
                    f"{stem}-curves",
                    f"Faithfulness of circuits by size, {way_words(main)}. Bands: 90% of random orders.",
                    f"{WHAT} {CHANCE} Signed rankings where a method has them.",
                    partial(faithfulness_curves, drawn),
                    drawn,
                )
            )
        several = [one for one in judged if len(_both(one)) >= FEWEST_METHODS]
        folded = [judges_table(several, f"{stem}-judges")] if several else []
        details: tuple[Block, ...] = (
            detail_table(shown, of_kind, f"{stem}-numbers"),
            *folded,
        )
        blocks.append(Fold(f"The numbers: {kind_words(str(kinds))}", details, 4))
    return blocks


def outdated_words(results: Results) -> list[str]:
    """That circuits are of scores that have changed since, if some are."""
    count = outdated(results)
    if not count:
        return []
    many = f"{counted(count, 'circuit')} {'is' if count == 1 else 'are'}"
    return [
        f"{many} left out: the scores have changed since, or an older version didn't store which they were. "
        "`attribution-bench circuits` measures again."
    ]


def kind_words(kinds: str) -> str:
    """`heads, MLP outputs and embeddings`."""
    *first, last = [plural(kind) for kind in kinds.split("+")]
    return f"{', '.join(first)} and {last}" if first else last


def way_of(row: object) -> tuple[str, str]:
    return str(row.direction), str(row.replacement)  # type: ignore[attr-defined]


def way_words(way: tuple[str, str]) -> str:
    return way[0] if way[0] == "denoising" else f"noising, {way[1]} replacement"


def main_way(numbers: pd.DataFrame) -> tuple[str, str]:
    """The way that is shown in full: noising with counterfactual activations where it was measured."""
    ways = list(dict.fromkeys(way_of(row) for row in numbers.itertuples()))
    usual = (COUNTERFACTUAL.direction, COUNTERFACTUAL.replacement)
    return usual if usual in ways else ways[0]


def one_ranking(frame: pd.DataFrame) -> pd.DataFrame:
    """One line a source: its signed ranking where it has one."""
    signed = set(frame.source[frame.ranking == "signed"])
    return frame[(frame.ranking != "absolute") | ~frame.source.isin(signed)]


def judges_of(judges: list[Judges], of_kind: pd.DataFrame) -> list[Judges]:
    """Those of these kinds and this model, in the way that is shown in full."""
    one, way = of_kind.iloc[0], main_way(of_kind)
    same = (judge for judge in judges if (judge.game.kinds, judge.game.key.model.name) == (one.kinds, one.model))
    return [judge for judge in same if tuple(judge.game.key.way) == way]


def measured_words(shown: pd.DataFrame) -> str:
    """On how many pairs of which split, what there is to keep, and where nothing says that there is anything."""
    tasks = shown.drop_duplicates("case")
    most = int(tasks.pairs.max())
    pairs = f"{tasks.pairs.min()} to " * bool(tasks.pairs.min() < most) + counted(most, "pair")
    parts = " to ".join(map(str, sorted({int(tasks.components.min()), int(tasks.components.max())})))
    splits = " or ".join(sorted(set(tasks.scored_on)))
    other = "other split" if len(set(tasks.scored_on)) > 1 else f"{tasks.measured_on.iloc[0]} split"
    flat, unknown = (_cases_that(tasks, one) for one in (False, None))
    against = [row.case for row in tasks.itertuples() if row.gap < 0 and row.told]
    told = _known_words(shown)
    if flat:
        told += (
            f" On {', '.join(flat)} the metric with nothing kept isn't told from that with everything: faithfulness "
            "says nothing there."
        )
    if unknown:
        where = ", ".join(unknown) if len(unknown) < len(tasks) else "every task"
        told += (
            f" On {where} there are too few pairs ({FEWEST_PAIRS} in {FEWEST_CLUSTERS} clusters are "
            "needed) to say whether the metric with everything differs from that with nothing: where it doesn't, "
            "faithfulness is a ratio of noise. Every number there is a first look."
        )
    if against:
        told += (
            f" On {', '.join(against)} the metric is larger with nothing kept: there the model prefers the other "
            "answer, faithfulness is about that, and signed rankings go against it."
        )
    return (
        f"Ranked on the {splits} split, measured on {pairs} a task of the {other}, "
        f"{way_words(way_of(tasks.iloc[0]))}. {parts} components take part.{told}"
    )


def _known_words(shown: pd.DataFrame) -> str:
    """Where the best order known is but that of a method: what a share of it is then worth."""
    known = shown[~shown.sort.isin(BY_CHANCE)]
    lacking = [case for case, rows in known.groupby("case", sort=False)
               if not rows.reference.any() and "greedy" not in set(rows.sort)]  # fmt: skip
    alone = [case for case in lacking if known[known.case == case].source.nunique() == 1]
    several = [case for case in lacking if case not in alone]
    said = ""
    if alone:
        said += (
            f" On {', '.join(alone)} only one order is known, so that its share of the best is 1 whatever it is worth."
        )
    if several:
        said += f" On {', '.join(several)} exact patching has no order: the best known is but one of these methods'."
    return said


def mark_of(*told: bool | None) -> str:
    """The mark of a task, by whether there is something to keep in every one of these games."""
    return "≠" if False in told else "§" if None in told else ""


def _cases_that(tasks: pd.DataFrame, told: bool | None) -> list[str]:
    return [row.case for row in tasks.itertuples() if row.told is told]


def judged_words(judges: list[Judges]) -> str:
    """The sentence: mean rank correlation of the two judges, and on how many tasks their best methods are the same."""
    ordered = [one for one in judges if not np.isnan(one.correlation)]
    tied = [one.game.case for one in judges if len(_both(one)) >= FEWEST_METHODS and np.isnan(one.correlation)]
    undefined = f" On {', '.join(tied)} all are as good to one of the two judges, and have no order." if tied else ""
    if not ordered:
        most = max(len(_both(one)) for one in judges)
        few = (
            f" That takes {FEWEST_METHODS} methods, exact patching and those that see no metric aside; here: {most}."
            * (not tied)
        )
        judges_words = "agreement with exact patching and share of the best circuit"
        return f"**Two judges**, {judges_words}, aren't compared.{undefined}{few}"
    mean, low, high = overall(ordered)
    same = sum(bool(best(one, "agreement") & best(one, "share")) for one in ordered)
    chance = sum(map(_by_chance, ordered))
    counts = [len(_both(one)) for one in ordered]
    count = f"{min(counts)} to " * (min(counts) < max(counts)) + str(max(counts))
    names = {one.game.key.task.name for one in ordered}
    tasks = counted(len(ordered), "task" if len(names) == len(ordered) else "case")
    reason = ordered[0].game.halves.refusal or "no interval: undefined in a half-sample"
    told = "" if not np.isnan(low) else f" ({reason})"
    return (
        f"**Two judges.** Agreement with exact patching and share of the best circuit order {count} methods with a "
        f"rank correlation of {with_interval(mean, low, high)}{told}, on average over {tasks}. The method that agrees "
        f"best finds the best circuit on {same} of {len(ordered)}; methods drawn by chance would on "
        f"{number(chance, '.1f')}.{undefined}"
    )


def _by_chance(one: Judges) -> float:
    """How likely one of so many methods, drawn at random, has the best circuit: as many as agree best."""
    methods, agree, found = len(_both(one)), len(best(one, "agreement")), len(best(one, "share"))
    return 1 - comb(methods - found, agree) / comb(methods, agree)


def _both(one: Judges) -> pd.DataFrame:
    """The methods that both judges have a number of."""
    return one.table.dropna(subset=["agreement", "share"])


def best(one: Judges, column: str) -> set[str]:
    """The methods with the largest number; several where they tie to three digits."""
    table = _both(one)
    values = table[column].round(3)
    return set(table.method[values == values.max()])


def judges_table(judges: list[Judges], stem: str) -> Table:
    rows, data = [], []
    for one in judges:
        low, high = one.interval
        task = one.game.case
        rows.append(
            {
                "task": task,
                "rank correlation": with_interval(one.correlation, low, high),
                "agrees best": ", ".join(sorted(best(one, "agreement"))),
                "finds best": ", ".join(sorted(best(one, "share"))),
            }
        )
        facts = {"task": task, "correlation": one.correlation, "correlation_low": low, "correlation_high": high}
        data.append(one.table.assign(**facts))
    return Table(stem, "Two judges, task by task.", "", pd.DataFrame(rows), pd.concat(data, ignore_index=True))


def share_table(numbers: pd.DataFrame, stem: str) -> Table:
    """A row a method, a column a task: the share of the best circuit; where there are several ways, its range too."""
    named = one_ranking(numbers[numbers.sort != "random"])
    main = named[[way_of(row) == main_way(numbers) for row in named.itertuples()]]
    rows: dict[str, dict[str, str]] = {source: {"method": source} for source in main.source}
    used = ""
    for case, of_case in main.groupby("case", sort=False):
        of_task = mark_of(of_case.told.iloc[0])
        for row in of_case.itertuples():
            exceeds = "+" * bool(row.most > EXCEEDS and row.sort != "matched")
            text = with_interval(row.share, row.share_low, row.share_high) + _range("share", row, named)
            rows[row.source][f"{case} {of_task}".strip()] = f"{text} {exceeds}".strip()
            used += exceeds + of_task
    legend = "; ".join(f"{mark} {words}" for mark, words in MARKS.items() if mark in used)
    return Table(
        stem,
        f"Share of the best circuit that each order finds{_over_ways(numbers)}. {f'{legend}.' * bool(legend)}".strip(),
        f"{HOW} {CHANCE}",
        pd.DataFrame(list(rows.values())).fillna("-"),
        main,
    )


def _range(column: str, row: Any, numbers: pd.DataFrame) -> str:
    """`; LEAST to MOST` of this order over several ways, of those in which there is something to keep."""
    same = [numbers[name] == getattr(row, name) for name in ("case", "sort", "source", "ranking")]
    ways = numbers[np.logical_and.reduce(same)]
    values = ways[column][[told is not False for told in ways.told]].dropna()
    return f"; {number(values.min())} to {number(values.max())}" if len(values) > 1 else ""


def _over_ways(numbers: pd.DataFrame) -> str:
    """What `_range` is, for a caption."""
    several = numbers[["direction", "replacement"]].drop_duplicates()
    words = f"; behind the semicolon the range over those of {len(several)} ways with something to keep"
    return words if len(several) > 1 else ""


def detail_table(shown: pd.DataFrame, data: pd.DataFrame, stem: str) -> Table:
    """Every order on every task: areas, and what its top keeps, leaves and doesn't need; CPR and CMD in all ways."""
    rows = [
        {
            "task": row.case,
            "order": row.source,
            "ranking": row.ranking or "mean of draws",
            "CPR": with_interval(row.cpr, row.cpr_low, row.cpr_high) + _range("cpr", row, data),
            "CMD": with_interval(row.cmd, row.cmd_low, row.cmd_high) + _range("cmd", row, data),
            "area": with_interval(row.area, row.area_low, row.area_high),
            "most kept": with_interval(row.most, row.most_low, row.most_high),
            "top": str(row.top) if row.top else "-",
            "top keeps": with_interval(row.at_top, row.at_top_low, row.at_top_high),
            "rest keeps": with_interval(row.rest_at_top, row.rest_at_top_low, row.rest_at_top_high),
            "above random": number(row.above, ".0%"),
            "redundant": "-" if np.isnan(row.redundant) else str(int(row.redundant)),
            "metric, all": number(row.everything),
            "nothing": number(row.nothing),
            "corrupted": number(row.corrupted),
        }
        for row in shown.itertuples()
    ]
    return Table(stem, f"Circuits in numbers{_over_ways(data)}.", f"{HOW} {DETAILS}", pd.DataFrame(rows), data)


def terminal_lines(results: Results, parts: list[Comparisons], width: int) -> Iterator[str]:
    """What a terminal of that width shows: of each kind the share of the best circuit, and the two judges."""
    for words in outdated_words(results):
        yield "\n" + fill(words, width)
    if not games(results):
        return
    numbers, judges = circuit_numbers(results, tops_of(parts)), two_judges(results, parts)
    for (model, kinds), of_kind in numbers.groupby(["model", "kinds"], sort=False):
        shown = of_kind[[way_of(row) == main_way(of_kind) for row in of_kind.itertuples()]]
        yield "\n" + fill(f"Circuits of {kind_words(str(kinds))}, {model}. {measured_words(shown)}", width)
        if of_kind.share.notna().any():
            table = share_table(of_kind, "")
            yield fill(table.caption.replace("`", ""), width)
            yield table.shown.to_string(index=False)
        else:
            yield NO_SHARE
        if judged := judges_of(judges, of_kind):
            yield fill(judged_words(judged).replace("**", ""), width)
