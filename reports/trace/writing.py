"""The folder of a trace: the page, its numbers as JSON and CSV, and every picture as PDF and PNG."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.trace.figures import figures, stem_of
from reports.trace.page import page
from reports.writing.drawing import save

if TYPE_CHECKING:
    from benchmark.tracing.subject import Prompt
    from benchmark.tracing.trace import Trace


def write(trace: "Trace", folder: Path) -> Path:
    """Write everything; gives the page's place. What an earlier trace left here is deleted."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "trace.json").is_file():  # an earlier trace's, of other kinds perhaps
        for old in (*folder.glob("*.csv"), *folder.glob("figures/*.pdf"), *folder.glob("figures/*.png")):
            old.unlink()
    for one in trace.maps:
        frame = trace.frame(one.kind, one.direction, one.method)
        frame.to_csv(folder / f"{stem_of(trace, one)}.csv", index=False, lineterminator="\n")
    for name in ("circuits", "bias"):
        frame = getattr(trace, name)
        if not frame.empty:
            frame.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    (folder / "trace.json").write_text(json.dumps(_contents(trace), indent=1, ensure_ascii=False), encoding="utf-8")
    for stem, figure in figures(trace):
        save(figure, folder / "figures" / stem)
    (folder / "trace.html").write_text(page(trace), encoding="utf-8")
    return folder / "trace.html"


def _contents(trace: "Trace") -> dict[str, Any]:
    """All but the scores, which stand in the CSV files, and the patterns' numbers."""

    def prompt(one: "Prompt | None") -> dict[str, Any] | None:
        if one is None:
            return None
        likeliest = one.likeliest.to_dict("records")
        return {"text": one.text, "tokens": list(one.labels), "ids": list(one.ids), "likeliest": likeliest}

    def number(value: float) -> float | None:
        return None if np.isnan(value) else value

    return {
        "model": trace.model, "metric": trace.metric, "replacement": trace.replacement,
        "clean": prompt(trace.clean), "corrupted": prompt(trace.corrupted), "correct": list(trace.correct),
        "incorrect": list(trace.incorrect), "clean_metric": number(trace.clean_metric),
        "corrupted_metric": number(trace.corrupted_metric), "gap": number(trace.gap),
        "partners": trace.partners and [list(pair) for pair in trace.partners],
        "kinds": list(trace.kinds), "directions": list(trace.directions), "methods": list(trace.methods),
        "cautions": list(trace.cautions), "seconds": round(trace.seconds, 1),
        "patterns": {
            pattern.name: {
                side: None if values is None else np.round(values, 5).tolist()
                for side, values in (("clean", pattern.clean), ("corrupted", pattern.corrupted))
            }
            for pattern in trace.patterns
        },
    }  # fmt: skip
