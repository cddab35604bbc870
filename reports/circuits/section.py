"""The section on circuits: is what a method ranks first enough, and does the method that agrees best find the best?"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd

from benchmark.analysis.circuits import Judges, circuit_curves, circuit_numbers, games, overall, two_judges
from benchmark.analysis.comparisons import Comparisons
from benchmark.analysis.sections import slug
from benchmark.components import COUNTERFACTUAL, plural
from benchmark.store.folder import Results
from benchmark.words import counted
from reports.circuits.curves import faithfulness_curves
from reports.writing.blocks import Block, Fold, Heading, Paragraph, Picture, Table, number, with_interval

WHAT = (
    "A **circuit** is the first k components of an order; all others of its kinds are replaced, and other kinds stay "
    "live. **Faithfulness** is the share of the behaviour that it keeps: 0 with all replaced, 1 with none. Orders are "
    "of scores on one split of the pairs, circuits are measured on the other."
)
HOW = (
    "share of best: the area under faithfulness over log size, from that of random circuits (0) to that of the best "
    "order known (1). CPR and CMD: areas of the Mechanistic Interpretability Benchmark at its ten sizes; CPR is above "
    ".999 only where circuits exceed the model, CMD is 0 for a perfect one."
)
DETAILS = (
    "top keeps: faithfulness of the top; rest keeps: that of all but the top (0: the top is complete); above random: "
    "share of random circuits of that size that keep less; redundant: members of the top whose leaving changes "
    "faithfulness by less than .01."
)


def circuits_blocks(results: Results, parts: list[Comparisons]) -> list[Block]:
    """All blocks on circuits; none where none was measured."""
    if not games(results):
        return []
    numbers, curves, judges = circuit_numbers(results), circuit_curves(results), two_judges(results, parts)
    blocks: list[Block] = [Paragraph(WHAT)]
    for (model, kinds), of_kind in numbers.groupby(["model", "kinds"], sort=False):
        name, main = f"{kind_words(str(kinds))} of {model}", main_way(of_kind)
        shown = of_kind[[way_of(row) == main for row in of_kind.itertuples()]]
        stem = slug("circuits", *[str(model)] * (numbers.model.nunique() > 1), str(kinds))
        judged = [one for one in judges if one.game.kinds == kinds and one.game.key.model.name == model]
        known = [one for one in judged if not np.isnan(one.correlation) and tuple(one.game.key.way) == main]
        of_curves = curves[(curves.model == model) & (curves.kinds == kinds)]
        drawn = of_curves[[way_of(row) == main for row in of_curves.itertuples()]]
        blocks += [Heading(name[0].upper() + name[1:], 3), Paragraph(measured_words(shown))]
        if known:
            blocks.append(Paragraph(judged_words(known)))
        blocks.append(share_table(of_kind, f"{stem}-shares"))
        blocks.append(
            Picture(
                f"{stem}-curves",
                f"Faithfulness of circuits by size, {way_words(main)}; grey: 90% of random circuits.",
                f"{WHAT} Signed rankings where a method has them.",
                partial(faithfulness_curves, one_ranking(drawn)),
                drawn,
            )
        )
        folded = [judges_table(known, f"{stem}-judges")] if known else []
        details: tuple[Block, ...] = (
            Paragraph(f"{HOW} {DETAILS}"),
            detail_table(shown, of_kind, f"{stem}-numbers"),
            *folded,
        )
        blocks.append(Fold(f"The numbers: {kind_words(str(kinds))}", details, 4))
    return blocks


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


def measured_words(shown: pd.DataFrame) -> str:
    """On how many pairs of which split, and what there is to keep."""
    one, tasks = shown.iloc[0], shown.drop_duplicates("case")
    pairs = " to ".join(map(str, sorted({int(tasks.pairs.min()), int(tasks.pairs.max())})))
    parts = " to ".join(map(str, sorted({int(tasks.components.min()), int(tasks.components.max())})))
    flat = [row.case for row in tasks.itertuples() if row.gap_low <= 0 <= row.gap_high]
    against = [row.case for row in tasks.itertuples() if row.gap < 0 and row.case not in flat]
    told = ""
    if flat:
        told += (
            f" On {', '.join(flat)} the metric with nothing kept isn't told from that with everything: faithfulness "
            "says nothing there."
        )
    if against:
        told += (
            f" On {', '.join(against)} the metric is larger with nothing kept: there the model prefers the other "
            "answer, faithfulness is about that, and signed rankings go against it."
        )
    return (
        f"Ranked on the {one.scored_on} split, measured on {pairs} pairs a task of the {one.measured_on} split, "
        f"{way_words(way_of(one))}. {parts} components take part.{told}"
    )


def judged_words(judges: list[Judges]) -> str:
    """The sentence: mean rank correlation of the two judges, and on how many tasks their best methods are the same."""
    mean, low, high = overall(judges)
    same = [one.game.case for one in judges if best(one, "agreement") & best(one, "share")]
    count = " to ".join(map(str, sorted({min(map(_methods, judges)), max(map(_methods, judges))})))
    reason = judges[0].game.halves.refusal or "no interval: undefined in a half-sample"
    told = "" if not np.isnan(low) else f" ({reason})"
    return (
        f"**Two judges.** Agreement with exact patching and share of the best circuit order {count} methods with a "
        f"rank correlation of {with_interval(mean, low, high)}{told}, on average over {counted(len(judges), 'task')}. "
        f"The method that agrees best finds the best circuit on {len(same)} of {len(judges)}."
    )


def _methods(one: Judges) -> int:
    return len(one.table)


def best(one: Judges, column: str) -> set[str]:
    """The methods with the largest number; several where they tie to three digits."""
    values = one.table[column].round(3)
    return set(one.table.method[values == values.max()])


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
    flat = (named.gap_low <= 0) & (named.gap_high >= 0)  # ratios of noise
    rows = []
    for source, of_source in main.groupby("source", sort=False):
        row = {"method": source}
        for task in dict.fromkeys(main.case):
            found = of_source[of_source.case == task]
            row[task] = "-"
            if len(found):
                row[task] = with_interval(found.share.iloc[0], found.share_low.iloc[0], found.share_high.iloc[0])
                ways = named[(named.source == source) & (named.case == task) & ~flat].share.dropna()
                if len(ways) > 1:
                    row[task] += f"; {number(ways.min())} to {number(ways.max())}"
        rows.append(row)
    several = numbers[["direction", "replacement"]].drop_duplicates()
    ways = (
        f" Behind the semicolon the range over {counted(len(several), 'way')} of replacing." if len(several) > 1 else ""
    )
    return Table(stem, f"Share of the best circuit that each order finds.{ways}", HOW, pd.DataFrame(rows), main)


def detail_table(shown: pd.DataFrame, data: pd.DataFrame, stem: str) -> Table:
    """Every order on every task: areas, and what its top keeps, leaves and doesn't need."""
    rows = [
        {
            "task": row.case,
            "order": row.source,
            "ranking": row.ranking or "mean of draws",
            "CPR": with_interval(row.cpr, row.cpr_low, row.cpr_high),
            "CMD": with_interval(row.cmd, row.cmd_low, row.cmd_high),
            "area": with_interval(row.area, row.area_low, row.area_high),
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
    return Table(stem, "Circuits in numbers.", f"{HOW} {DETAILS}", pd.DataFrame(rows), data)


def terminal_lines(results: Results, parts: list[Comparisons]) -> Iterator[str]:
    """What a terminal shows: of each kind the share of the best circuit, and the two judges."""
    if not games(results):
        return
    numbers, judges = circuit_numbers(results), two_judges(results, parts)
    for (model, kinds), of_kind in numbers.groupby(["model", "kinds"], sort=False):
        table = share_table(of_kind, "")
        yield f"\nCircuits of {kind_words(str(kinds))}, {model}: {table.caption}"
        yield table.shown.to_string(index=False)
        known = [one for one in judges if one.game.kinds == kinds and one.game.key.model.name == model]
        known = [one for one in known if not np.isnan(one.correlation) and tuple(one.game.key.way) == main_way(of_kind)]
        if known:
            yield judged_words(known).replace("**", "")
