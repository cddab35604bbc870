"""The page of a trace: one file that opens without a network, with maps that answer to the mouse."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from benchmark.components import component_name, many, plural
from reports.trace.figures import FAINT, NAMED
from reports.writing.html import environment

if TYPE_CHECKING:
    from benchmark.tracing.trace import Map, Trace

COLOURS = [[0.0, "#2166ac"], [0.25, "#92c5de"], [0.5, "#f7f7f7"], [0.75, "#f4a582"], [1.0, "#b2182b"]]
LOOKS = [[0.0, "#f7fbff"], [0.5, "#6baed6"], [1.0, "#08306b"]]
UNITS = ("metric", "share")
FONT = {"family": "system-ui, sans-serif"}


def page(trace: "Trace") -> str:
    charts = {**_maps(trace), **_formation(trace), **_patterns(trace)}
    units = UNITS if not np.isnan(trace.gap) else UNITS[:1]
    return environment("trace").get_template("page.html").render(
        trace=trace, rows=_token_rows(trace), charts=list(charts.items()), units=units, plural=plural,
        data=Markup(json.dumps(charts).replace("<", "\\u003c")), plotly=Markup(get_plotlyjs()),
        heads=_circuits(trace), top=_strongest(trace),
    )  # fmt: skip


def _token_rows(trace: "Trace") -> list[dict[str, Any]]:
    """Both prompts' tokens: position, token and whether it differs from the other's at the same place."""
    rows: list[dict[str, Any]] = [{"name": "clean", "tokens": trace.clean.labels}]
    if trace.corrupted is not None:
        rows.append({"name": "corrupted", "tokens": trace.corrupted.labels})
    same = trace.same_tokens()
    for side, row in enumerate(rows):
        kept = {pair[side] for pair in same}
        row["cells"] = [
            {"text": text, "at": at, "differs": trace.corrupted is not None and at not in kept}
            for at, text in enumerate(row["tokens"])
        ]
    return rows


def _maps(trace: "Trace") -> dict[str, Any]:
    """By kind a chart with a variant a method, direction and unit."""
    charts: dict[str, Any] = {}
    for one in trace.maps:
        title = plural(one.kind)
        where = "by layer and position" if one.by_position else "over all positions"
        chart = charts.setdefault(one.kind, {"title": f"{title[0].upper()}{title[1:]} {where}", "variants": {}})
        for unit in UNITS:
            if unit == "share" and np.isnan(trace.gap):
                continue
            scale = trace.gap if unit == "share" else 1.0
            key = f"{one.method}|{one.direction}|{unit}"
            draw = _dots if many(one.kind) else _heat
            chart["variants"][key] = draw(
                trace, one, one.values / scale, "share of the gap" if unit == "share" else trace.metric
            )
    return charts


def _formation(trace: "Trace") -> dict[str, Any]:
    """The residual map at each checkpoint, one at a time, behind a slider."""
    if not trace.formation:
        return {}
    maps = list(trace.formation.items())
    figures = [_heat(trace, one, one.values, trace.metric) for _, one in maps]
    most = max(float(np.nanmax(np.abs(one.values))) for _, one in maps)
    first = figures[0]
    for figure in figures:
        figure["data"][0] |= {"zmin": -most, "zmax": most}
    drawn = [figure["data"][0] for figure in figures]
    steps = [
        {"label": name, "method": "restyle", "args": [{"z": [one["z"]], "customdata": [one["customdata"]]}]}
        for (name, _), one in zip(maps, drawn, strict=True)
    ]
    first["layout"]["sliders"] = [
        {"steps": steps, "currentvalue": {"prefix": "checkpoint "}, "active": 0, "pad": {"t": 115}}
    ]
    first["layout"]["height"] += 160
    return {"formation": {"title": "How it forms: residual streams at each checkpoint", "variants": {"": first}}}


def _heat(trace: "Trace", one: "Map", values: Any, unit: str) -> dict[str, Any]:
    labels = _texts(trace.base(one.direction).labels)
    size = one.values.shape[1]
    if one.by_position:
        columns = [f"{label}" if size == 1 else f"{index} {label}" for index in range(size) for label in labels]
    else:
        columns = [str(index) for index in range(size)]
    z = values.reshape(len(values), -1)
    most = float(np.nanmax(np.abs(z))) if np.isfinite(z).any() else 1.0
    most = max(most, FAINT * abs(trace.clean_metric)) if unit == trace.metric else max(most, FAINT)
    names = [
        [component_name(one.kind, layer, index, size) for index in range(size) for _ in range(values.shape[2])]
        for layer in range(len(values))
    ]
    where = " at %{customdata[1]}" if one.by_position else ""
    return {
        "data": [
            {
                "type": "heatmap", "z": _numbers(z), "x": list(range(len(columns))), "y": list(range(len(z))),
                "customdata": [[[name, columns[at]] for at, name in enumerate(row)] for row in names],
                "zmin": -most or -1, "zmax": most or 1, "colorscale": COLOURS, "xgap": 1, "ygap": 1,
                "hoverongaps": True, "colorbar": {"title": {"text": unit, "side": "right"}, "thickness": 12},
                "hovertemplate": f"%{{customdata[0]}}{where}: %{{z:.4g}}<extra></extra>",
            }
        ],
        "layout": _layout(columns, "" if one.by_position else one.kind, len(z)),
    }  # fmt: skip


def _layout(columns: list[str], kind: str, rows: int) -> dict[str, Any]:
    """`kind` is what the columns count; empty where they are tokens."""
    return {
        "height": max(260, 17 * rows + 130), "margin": {"l": 55, "r": 10, "t": 10, "b": 95},
        "xaxis": {"tickvals": list(range(len(columns))), "ticktext": columns, "tickangle": 0 if kind else -60,
                  "showgrid": False, "zeroline": False, "title": {"text": kind}, "automargin": True},
        "yaxis": {"title": {"text": "layer"}, "dtick": max(1, rows // 15), "showgrid": False, "zeroline": False},
        "plot_bgcolor": "#d0d0d0", "paper_bgcolor": "rgba(0,0,0,0)", "font": FONT,
    }  # fmt: skip


def _dots(trace: "Trace", one: "Map", values: Any, unit: str) -> dict[str, Any]:
    """A dot a neuron, by position that at which it counts most; the outliers are named."""
    measured = ~np.isnan(values).all(2)
    sizes = np.abs(np.nan_to_num(values))
    at = sizes.argmax(2)
    layer, index = measured.nonzero()
    score = values[layer, index, at[layer, index]]
    size = values.shape[1]
    names = [component_name(one.kind, *place, size=size) for place in zip(layer.tolist(), index.tolist(), strict=True)]
    labels = _texts(trace.base(one.direction).labels)
    layers = sorted(set(layer.tolist()))
    across = np.array([layers.index(one) for one in layer]) + 0.8 * (index / values.shape[1] - 0.5)
    order = set(np.argsort(-np.abs(score), kind="stable")[:NAMED].tolist())
    places = [f" at {labels[place]}" if one.by_position else "" for place in at[layer, index]]
    return {
        "data": [
            {
                "type": "scattergl", "mode": "markers+text", "x": np.round(across, 4).tolist(), "y": _numbers(score),
                "text": [name if number in order else "" for number, name in enumerate(names)],
                "textposition": "top center", "marker": {"size": 4, "color": "#2166ac", "opacity": 0.6},
                "customdata": [f"{name}{place}" for name, place in zip(names, places, strict=True)],
                "hovertemplate": "%{customdata}: %{y:.4g}<extra></extra>",
            }
        ],
        "layout": {
            "height": 420, "margin": {"l": 60, "r": 10, "t": 20, "b": 45},
            "xaxis": {"tickvals": list(range(len(layers))), "ticktext": [str(one) for one in layers],
                      "title": {"text": "layer"}, "showgrid": False, "zeroline": False},
            "yaxis": {"title": {"text": unit}}, "font": FONT,
            "paper_bgcolor": "rgba(0,0,0,0)",
        },
    }  # fmt: skip


def _patterns(trace: "Trace") -> dict[str, Any]:
    """Attention patterns, clean and corrupted side by side."""
    charts = {}
    for pattern in trace.patterns:
        both = (("clean", trace.clean, pattern.clean), ("corrupted", trace.corrupted, pattern.corrupted))
        sides = [(name, prompt, values) for name, prompt, values in both if prompt and values is not None]
        data: list[dict[str, Any]] = []
        layout: dict[str, Any] = {"margin": {"l": 90, "r": 10, "t": 30, "b": 90}, "paper_bgcolor": "rgba(0,0,0,0)"}
        width = 0.44 if len(sides) > 1 else 1.0
        for number, (name, prompt, values) in enumerate(sides):
            heat, axes = _looks(values, _texts(prompt.labels), f"{name}: looked at", "2" * number)
            axes[f"xaxis{'2' * number}"]["domain"] = [0.56 * number, 0.56 * number + width]
            data.append(heat)
            layout |= axes
        longest = max(len(prompt) for _, prompt, _ in sides)
        layout |= {"height": 190 + 20 * longest, "font": FONT}
        title = f"Attention pattern of {pattern.name}"
        charts[f"pattern-{pattern.name}"] = {"title": title, "variants": {"": {"data": data, "layout": layout}}}
    return charts


def _looks(values: Any, labels: list[str], title: str, end: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """One pattern as a map, and its axes."""
    hidden = np.where(np.triu(np.ones_like(values, dtype=bool), 1), np.nan, values)
    ticks = {"tickvals": list(range(len(labels))), "ticktext": labels, "showgrid": False, "automargin": True,
             "zeroline": False}  # fmt: skip
    heat = {
        "type": "heatmap", "z": _numbers(hidden), "x": ticks["tickvals"], "y": ticks["tickvals"], "zmin": 0, "zmax": 1,
        "colorscale": LOOKS, "showscale": False, "xaxis": f"x{end}", "yaxis": f"y{end}",
        "customdata": [[[query, key] for key in labels] for query in labels],
        "hovertemplate": "%{customdata[0]} looks at %{customdata[1]}: %{z:.3f}<extra></extra>",
    }  # fmt: skip
    return heat, {
        f"xaxis{end}": ticks | {"tickangle": -60, "title": {"text": title}},
        f"yaxis{end}": ticks | {"autorange": "reversed", "anchor": f"x{end}"},
    }


def _texts(labels: Iterable[str]) -> list[str]:
    """Labels as plotly takes them, which reads `<s>` as a mark."""
    return [label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for label in labels]


def _numbers(values: Any) -> Any:
    """Five digits are enough for a map; what wasn't measured is null."""
    if np.ndim(values) > 1:
        return [_numbers(row) for row in values]
    return [None if np.isnan(value) else float(f"{value:.5g}") for value in values]


def _circuits(trace: "Trace") -> list[tuple[str, list[dict[str, Any]]]]:
    """By head its singular vectors: value, and tokens by side and sign."""
    if trace.circuits.empty:
        return []
    found = []
    for head, rows in trace.circuits.groupby("head", sort=False):
        vectors = []
        for number, part in rows.groupby("vector"):
            sides = {f"{row.side}{row.sign}": row.tokens for row in part.itertuples()}
            vectors.append({"number": int(number), "value": float(part.singular_value.iloc[0]), **sides})
        found.append((str(head), vectors))
    return found


def _strongest(trace: "Trace") -> list[dict[str, Any]]:
    return [row._asdict() for row in _rows(trace)]


def _rows(trace: "Trace") -> Iterable[Any]:
    return trace.top(3).itertuples() if trace.maps else ()
