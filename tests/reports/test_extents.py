"""Claims about room: whatever the number of methods, no legend, title or label is cut or lies on another."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from benchmark.analysis.comparisons import Comparisons, compared
from benchmark.analysis.finding import finding_data
from benchmark.analysis.frontier import frontier_data
from benchmark.analysis.inclusion import inclusion_data
from benchmark.statistics.agreement import statistic
from benchmark.store.folder import Results, record_run
from reports.agreement.agreement_map import agreement_map
from reports.agreement.finding import finding_curves
from reports.agreement.forest import forest, forest_data
from reports.agreement.frontier import cost_frontier
from reports.agreement.inclusion import inclusion_curves, inclusion_map
from reports.agreement.layer_map import layer_bars, layer_map
from reports.agreement.overlap_curves import curves_data, curves_figure
from reports.agreement.scatter import scatter
from reports.litmus.map import VERDICTS, litmus_map
from reports.writing.drawing import contain, style
from tests.reports.test_reports import add_cell, scores

PAIRS = 16
LONG = "integrated-gradients:path=joint:steps={}"
SHOWN = (statistic("pearson", "signed"), statistic("pearson", "by_size"), statistic("top_k_overlap", "by_size"))


def part_of(folder: Path, methods: int) -> Comparisons:
    """`methods` methods with names as long as they come, beside a reference."""
    record_run(folder, {"asked": {}, "resolved": {}})
    add_cell(folder, "activation-patching", n_pairs=PAIRS)
    for number in range(methods):
        values = scores(f"method {number}", PAIRS)
        add_cell(folder, "integrated-gradients", n_pairs=PAIRS, label=LONG.format(number), values=values, seed=number)
    return compared(Results(folder), tested=False, statistics=SHOWN)[0]


def figures(part: Comparisons) -> Iterator[tuple[str, Figure]]:
    costs, curves = finding_data([part])
    data, included = frontier_data([part]).assign(passes=3.0), inclusion_data(part)
    verdicts = pd.DataFrame(
        {"setting": "noising", "method": method.label, "litmus": f"model {place}", "verdict": list(VERDICTS)[place]}
        for method in part.methods
        for place in range(len(VERDICTS))
    )
    yield "forest", forest(forest_data([part]))
    yield "frontier", cost_frontier(data)
    yield "finding", finding_curves(curves, {str(row.task): row.k for row in costs.itertuples()})
    yield "overlap", curves_figure(curves_data(part))
    yield "inclusion curves", inclusion_curves(included, part.k)
    yield "inclusion map", inclusion_map(included)
    yield "agreement", agreement_map(part)
    yield "layers", layer_map(part.section, part.methods)
    yield "bars", layer_bars(part.methods)
    yield "scatter", scatter(part.methods)
    yield "litmus", litmus_map(verdicts)


def boxes(figure: Figure) -> dict[str, Bbox]:
    """The extents of all that is written outside of panels, by what it says."""
    found = {}
    for number, axis in enumerate(figure.axes):
        ticks = [*axis.get_xticklabels(), *axis.get_yticklabels()]
        words = [axis.title, axis.xaxis.label, axis.yaxis.label]
        shown = [*words, *(text for text in ticks if in_view(axis, text))]
        for place, text in enumerate(shown):
            if text.get_visible() and text.get_text().strip():
                found[f"{number} {place}: {text.get_text()}"] = text.get_window_extent()
    return found | {f"legend {place}": legend.get_window_extent() for place, legend in enumerate(figure.legends)}


def in_view(axis, text: Text) -> bool:
    """Whether a tick lies within its axis; matplotlib keeps labels of ticks that it doesn't draw."""
    frame, box = axis.get_window_extent(), text.get_window_extent()
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return frame.x0 - 1 <= x <= frame.x1 + 1 or frame.y0 - 1 <= y <= frame.y1 + 1


@pytest.mark.parametrize("methods", [1, 2, 8, 20])
def test_nothing_is_cut_and_no_legend_lies_on_a_panel(methods: int, tmp_path: Path) -> None:
    with style():
        for name, figure in figures(part_of(tmp_path, methods)):
            contain(figure)  # as `save` does
            figure.draw_without_rendering()  # places all there is to place
            width, height = figure.get_size_inches() * figure.dpi
            for what, box in boxes(figure).items():
                inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
                assert inside, (name, what, box, width, height)
            written = boxes(figure)
            legends = {what: box for what, box in written.items() if what.startswith("legend")}
            panels = {f"panel {place}": axis.get_window_extent() for place, axis in enumerate(figure.axes)}
            for legend, box in legends.items():
                for what, other in (written | panels).items():
                    assert legend == what or not box.shrunk(0.99, 0.99).overlaps(other), (name, legend, what)
            titles = [axis.title.get_window_extent() for axis in figure.axes if axis.get_title()]
            assert not any(a.overlaps(b) for a, b in combinations(titles, 2)), name
            names = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
            if name in ("frontier", "finding", "overlap", "inclusion curves"):
                assert {LONG.format(number) for number in range(methods)} <= set(names), name
                lines = [line for line in figure.legends[0].get_lines() if line.get_marker() not in ("None", "")]
                looks = {(line.get_marker(), line.get_color(), line.get_linestyle()) for line in lines}
                assert len(looks) == len(lines) >= methods, name  # no two look alike


def test_a_common_scale_that_blanks_a_method_says_so_and_its_own_stands_beside_it(tmp_path: Path) -> None:
    record_run(tmp_path, {"asked": {}, "resolved": {}})
    add_cell(tmp_path, "activation-patching", n_pairs=PAIRS)
    add_cell(tmp_path, "attribution-patching", n_pairs=PAIRS, values=scores("attribution-patching", PAIRS) / 1000)
    add_cell(tmp_path, "integrated-gradients", n_pairs=PAIRS, values=np.zeros((PAIRS, 4, 5), np.float32))
    [part] = compared(Results(tmp_path), tested=False, statistics=SHOWN)
    panels = [axis for axis in layer_map(part.section, part.methods).axes if axis.get_title()]
    limits = {" ".join(axis.get_title().split()): axis.collections[0].get_clim()[1] for axis in panels}
    largest = {method.label: float(np.abs(method.mean).max()) for method in part.methods}
    shown = f"{largest['attribution-patching']:.1g}", f"{largest['attribution-patching']:.2g}"
    assert limits == {
        "activation-patching": pytest.approx(largest["activation-patching"]),
        f"attribution-patching blank here: at most {shown[0]}": pytest.approx(largest["activation-patching"]),
        f"attribution-patching own scale, ±{shown[1]}": pytest.approx(largest["attribution-patching"]),
        "integrated-gradients": pytest.approx(largest["activation-patching"]),
    }
