"""Checks that what a method's class says of itself is true."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

from torch import Tensor, nn

from benchmark.components import COUNTERFACTUAL, DEFAULT_KINDS, DIRECTIONS, KINDS, MEAN, REPLACEMENTS, WAYS
from benchmark.conformance.findings import NotApplicable, Violation, expect
from benchmark.conformance.trial import PROMISE, ROWS, Trial, allowed, difference, tiny
from benchmark.engine.means import mean_activations
from benchmark.engine.method import metrics
from benchmark.engine.model import Model
from benchmark.engine.replay import shortcuts
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from benchmark.models.tiny import tiny_pairs
from benchmark.prompts.metrics import METRICS

_BARE = tuple(replace(row, corrupted=None) for row in ROWS[:2])


def declared_support(trial: Trial) -> None:
    """What the class declares, its `check` allows under some options; and what `check` allows is carried out."""
    method = trial.method
    for what, known in {"replacements": REPLACEMENTS, "directions": DIRECTIONS, "kinds": KINDS}.items():
        unknown = ", ".join(sorted(set(getattr(method, what)) - set(known)))
        expect(not unknown, f"{what} has {unknown}", f"names among {', '.join(known)}", "a typo")
    allowed = {way for variant in (trial, *trial.variants) for way in variant.ways}
    declared = {way for way in WAYS if way.direction in method.directions and way.replacement in method.replacements}
    lacking = ", ".join(map(str, sorted(declared - allowed)))
    expect(not lacking, f"{lacking} is declared and always refused", "a way to it", "the class or `check`")
    expect(bool(trial.ways), "everything is refused", "a direction and replacement that work", "`check` does too much")
    model, pairs = tiny(count=1)
    for way, metric in (*((way, pairs.metric) for way in trial.ways), *((trial.way, one) for one in METRICS.values())):
        try:
            trial.scores(model, replace(pairs, metric=metric), way)
        except Exception as error:
            raise Violation(f"{way}, {metric.name}, is allowed and raises {type(error).__name__}: {error}") from error


def refusals(trial: Trial) -> None:
    """What can't be done is refused by a BenchmarkError: no silent substitute, no crash."""
    model, pairs = tiny(count=2)
    scores, kinds, able = trial.method.scores, trial.kinds, trial.method
    asked: dict[str, Callable[[], object]] = {
        f"denoising with {replacement}": partial(scores, model, pairs, kinds, replacement, "denoising")
        for replacement in REPLACEMENTS[1:]
    }
    for way in WAYS:
        if way.direction not in able.directions or way.replacement not in able.replacements:
            asked[f"{way}, which is not declared,"] = partial(trial.scores, model, pairs, way)
    for kind in (*(kind for kind in KINDS if kind not in able.kinds), "layer"):
        asked[f"component kind {kind!r}"] = partial(trial.scores, model, pairs, kinds=(kind,))
    if COUNTERFACTUAL in trial.ways and able.needs_replacement:
        bare = tiny_pairs(model, _BARE)
        asked["counterfactual for pairs without corrupted prompts"] = partial(trial.scores, model, bare, COUNTERFACTUAL)
    if MEAN in trial.ways and able.needs_replacement:
        asked["mean without discovery rows"] = partial(trial.scores, model, replace(pairs, discovery=()), MEAN)
    for what, call in asked.items():
        try:
            call()
        except BenchmarkError:
            continue
        except Exception as error:
            raise Violation(f"{what} raised {type(error).__name__}: {error}; expected a BenchmarkError") from error
        expect(False, f"{what} gave scores", "a BenchmarkError", "`check` or `scores` is overridden")


def works_without_corrupted_prompts(trial: Trial) -> None:
    """With zero and mean replacement, pairs need no corrupted prompt, and having one changes nothing."""
    ways = [way for way in trial.ways if way.replacement != "counterfactual"]
    if not ways:
        raise NotApplicable("it does neither zero nor mean replacement")
    model, pairs = tiny(count=2)
    bare = replace(pairs, pairs=tiny_pairs(model, _BARE).pairs)
    for way in ways:
        found = trial.values(model, bare, way)
        for kind, values in trial.values(model, pairs, way).items():
            moved = difference(found[kind], values)
            expect(
                moved <= allowed(PROMISE, values),
                f"{way} moves {kind} scores by {moved:.1e} without corrupted prompts",
                "the same scores",
                "the corrupted prompt has a say where it is not the replacement",
            )


def no_replacement_has_a_say(trial: Trial) -> None:
    """Where none is claimed to, scores are the same with any replacement, and without corrupted prompts."""
    if trial.method.needs_replacement:
        raise NotApplicable("it needs a replacement (needs_replacement = True)")
    model, pairs = tiny(count=2)
    bare = replace(pairs, pairs=tiny_pairs(model, _BARE).pairs)
    for direction in dict.fromkeys(way.direction for way in trial.ways):
        ways = [way for way in trial.ways if way.direction == direction]
        found = {str(way): trial.values(model, pairs, way) for way in ways}
        if direction == "noising":  # denoising runs the corrupted prompts
            found |= {f"{way} and no corrupted prompt": trial.values(model, bare, way) for way in ways}
        (one, first), *others = found.items()
        for (other, second), kind in product(others, trial.kinds):
            moved = difference(first[kind], second[kind])
            expect(
                moved <= allowed(PROMISE, first[kind]),
                f"{kind} scores move by {moved:.1e} from {one} to {other}",
                "the same scores",
                "needs_replacement = False is not true",
            )


def declared_cost(trial: Trial) -> None:
    """`cost` is what a pair takes at most, as seen at the unembedding, whoever runs it."""
    model, pairs = tiny(count=1)
    asked = {way: Request(trial.kinds, way.replacement, way.direction) for way in trial.ways}
    costs = {way: cost for way in asked if (cost := trial.method.cost(model, asked[way])) is not None}
    if not costs:
        raise NotApplicable("it declares no cost (`cost` gives None)")
    for way, declared in costs.items():
        means = mean_activations(model, pairs, DEFAULT_KINDS) if way == MEAN else {}  # shared by all methods
        known = metrics(model, pairs)  # so are these
        rows = rows_through(model, partial(trial.scores, model, pairs, way, means=means, known=known))
        for what, most in declared._asdict().items():
            expect(
                rows[what] <= most,
                f"{way} took {rows[what]} {what} rows a pair",
                f"at most the {most} of `cost`",
                "`cost` leaves out a pass: two forwards are those of every `Intervention`",
            )


def rows_through(model: Model, call: Callable[[], object]) -> Counter[str]:
    """Rows that go forward and backward through the unembedding while `call` runs, whoever runs them."""
    shortcuts(model)  # tried on the model once, before anything is counted
    rows: Counter[str] = Counter()

    def count(module: nn.Module, inputs: object, output: Tensor) -> None:
        rows["forward"] += len(output)
        if output.requires_grad:
            output.register_hook(lambda gradient: rows.update(backward=len(gradient)))  # type: ignore[no-untyped-call]

    handle = model.bridge.unembed.register_forward_hook(count)
    try:
        call()
    finally:
        handle.remove()
    return rows
