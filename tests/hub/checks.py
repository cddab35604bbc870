"""Every published number as data: what it is called, what was printed, and how it is found here."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from benchmark.engine.model import Model
from benchmark.engine.weights import ov_circuit
from benchmark.prompts.dataset import PromptPair
from benchmark.tracing.subject import last_logits
from benchmark.tracing.trace import VECTOR_TOKENS, VECTORS, Trace, trace

PUBLISHED: dict[str, Any] = json.loads((Path(__file__).parent / "published.json").read_text(encoding="utf-8"))
FLOAT32 = 2e-4  # what folded weights and another device may change in a logit of GPT-2; a guess, not measured
PERCENT = 25 * FLOAT32  # a probability in percent changes at most 25 times as much as its logit
GPT2_SMALL = (12, 12, 3072)  # layers, and heads and neurons in each
LIKELIEST = 50  # next tokens that are looked at
TOP_HEADS = 5  # a head that stands out is one of so many
FEMALE = {"she", "her", "hers", "herself"}

Row = Mapping[str, Any]


class Rank(NamedTuple):
    """A component's score, and its place in an order: 1 is the first."""

    score: float
    place: int

    def __str__(self) -> str:
        return f"{self.score:+.4f}, place {self.place}"


class Measured:
    """What the checks ask of one model. Each trace is made once."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.logit_diff = cache(self._logit_diff)
        self.next_tokens = cache(self._next_tokens)

    def _logit_diff(self, clean: str, corrupted: str | None, correct: str, incorrect: str) -> Trace:
        """The metrics of a pair, and the answers' biases; nothing is patched."""
        return trace(self.model, PromptPair(clean, corrupted, correct, incorrect), what=(), align="edges")

    def _next_tokens(self, prompt: str) -> pd.DataFrame:
        """The likeliest next tokens, a row a token: logit less the mean over the vocabulary, and percent."""
        logits = last_logits(self.model, self.model.tokens.encode(prompt)).double()
        top = logits.topk(LIKELIEST)
        return pd.DataFrame(
            {
                "logit": (top.values - logits.mean()).tolist(),
                "percent": (100 * logits.softmax(0)[top.indices]).tolist(),
            },
            index=[self.model.tokens.word(token) for token in top.indices.tolist()],
        )

    @cached_property
    def _pronouns(self) -> PromptPair:
        return PromptPair(*(PUBLISHED["pronouns"][part] for part in ("clean", "corrupted", "correct", "incorrect")))

    @cached_property
    def heads(self) -> pd.DataFrame:
        """Denoising of every head, over all positions."""
        return trace(self.model, self._pronouns, ("head",), directions=("denoising",)).frame("head")

    @cached_property
    def neurons(self) -> pd.DataFrame:
        """Denoising of every neuron of the published layers, over all positions."""
        layers = PUBLISHED["pronouns"]["neuron_layers"]
        return trace(self.model, self._pronouns, (), neurons=layers, directions=("denoising",)).frame("neuron")

    @cached_property
    def loss_ablations(self) -> pd.DataFrame:
        """What each head's value adds to the log likelihood: the loss rises by as much without it."""
        return self.ablated(PUBLISHED["tag_questions"]["ablation"]["loss"]["prompt"], "log_likelihood")

    @cached_property
    def logit_diff_ablations(self) -> pd.DataFrame:
        """What each head's value adds to the logit difference."""
        said = PUBLISHED["tag_questions"]
        prompt = said["ablation"]["logit_diff"]["prompt"]
        return self.ablated(PromptPair(prompt, None, said["correct"], said["incorrect"]), "logit_diff")

    def ablated(self, prompt: str | PromptPair, metric: str) -> pd.DataFrame:
        """Each head's value set to its bias at every position, a BOS included."""
        found = trace(self.model, prompt, ("value",), replacement="zero", published=("value",), metric=metric)
        return found.frame("value")

    def vectors(self, head: str) -> list[list[str]]:
        """The top tokens of a head's first singular vectors: of what each reads and writes, with either sign."""
        circuit = ov_circuit(self.model, *_place(head))
        found = []
        for side in (circuit.reads, circuit.writes):
            for logits in side[:VECTORS]:
                for top in (logits.topk(VECTOR_TOKENS), (-logits).topk(VECTOR_TOKENS)):
                    found.append([self.model.tokens.word(token).strip() for token in top.indices.tolist()])
        return found


def _place(component: str) -> tuple[int, int]:
    """The layer and the index in a name such as L9H7."""
    layer, index = map(int, re.findall(r"\d+", component))
    return layer, index


def ranked(frame: pd.DataFrame, component: str, order: str) -> Rank:
    """Where a component stands among all by its score: by its `size`, from the `highest` or from the `lowest`."""
    values = {"size": frame.score.abs(), "highest": frame.score, "lowest": -frame.score}[order]
    layer, index = _place(component)
    mine = (frame.layer == layer) & (frame["index"] == index)
    return Rank(frame.score[mine].item(), 1 + int((values > values[mine].item()).sum()))


def not_gpt2_small(model: Model) -> str:
    """Why these numbers can't be asked of a model; empty where they can."""
    shape = (model.n_layers, model.n_heads, model.d_mlp)
    if shape == GPT2_SMALL:
        return ""
    return (
        f"{model.name!r} isn't GPT-2 small: it has {shape[0]} layers of {shape[1]} heads and {shape[2]} neurons, not "
        f"{GPT2_SMALL[0]} of {GPT2_SMALL[1]} and {GPT2_SMALL[2]}."
    )


@dataclass(frozen=True)
class Check:
    """One published number or fact: how it is found in a model, and whether what was found agrees.

    `doubt` says why what was printed may not be what was computed: then it is reported and asserted nowhere.
    """

    name: str
    published: str
    obtain: Callable[[Measured], Any]
    agrees: Callable[[Any], bool]
    doubt: str = ""


def number(
    name: str, value: float, decimals: int, obtain: Callable[[Measured], float], rounding: float = FLOAT32, **more: str
) -> Check:
    """A number that was printed with so many decimals: right to half a unit of the last one, and to float32."""
    tolerance = 0.5 * 10**-decimals + rounding
    return Check(name, f"{value:.{decimals}f}", obtain, lambda found: abs(found - value) <= tolerance, **more)


def decimals(values: Sequence[float]) -> int:
    """Those of a column: of its longest number, as JSON leaves out zeros at the end."""
    return max(len(str(value).partition(".")[2]) for value in values)


def next_tokens(tables: Mapping[str, Sequence[Sequence[Any]]]) -> Iterator[Check]:
    """The likeliest next tokens of each prompt, in order, and each one's logit and percent."""
    for prompt, rows in tables.items():
        words, logits, percents = zip(*rows, strict=True)
        printed = dict(zip(words, logits, strict=True))

        def in_order(found: Sequence[str], printed: dict[str, float] = printed) -> bool:
            """The same tokens, and none before one of a larger published logit."""
            return [printed.get(word) for word in found] == list(printed.values())

        def likeliest(measured: Measured, prompt: str = prompt, count: int = len(rows)) -> list[str]:
            return list(measured.next_tokens(prompt).index[:count])

        yield Check(f"{prompt}: top {len(rows)} next tokens", " ".join(map(repr, words)), likeliest, in_order)
        for word, logit, percent in rows:
            for column, value, of_column, rounding in (
                ("logit", logit, logits, FLOAT32),
                ("percent", percent, percents, PERCENT),
            ):

                def cell(measured: Measured, at: tuple[str, str, str] = (prompt, word, column)) -> float:
                    prompt, word, column = at
                    return float(measured.next_tokens(prompt)[column].get(word, float("nan")))

                yield number(f"{prompt}{word}: {column}", value, decimals(of_column), cell, rounding)


def metrics(row: Row) -> Iterator[Check]:
    """The logit difference of both prompts of a pair."""
    pair = tuple(row[part] for part in ("clean", "corrupted", "correct", "incorrect"))
    more = {"doubt": row["stale"]} if "stale" in row else {}
    for side in ("clean", "corrupted"):

        def metric(measured: Measured, side: str = side) -> float:
            return float(getattr(measured.logit_diff(*pair), f"{side}_metric"))

        value = row[f"{side}_logit_diff"]
        name = f"{row[side]}{row['correct']}/{row['incorrect'].strip()}: {side} logit diff"
        yield number(name, value, decimals([value]), metric, **more)


def stands(name: str, said: str, frame: str, component: str, order: str, agrees: Callable[[Rank], bool]) -> Check:
    """Where a component stands in a frame of `Measured`."""
    return Check(name, said, lambda measured: ranked(getattr(measured, frame), component, order), agrees)


def pronouns(said: Row) -> Iterator[Check]:
    yield from next_tokens(said["tables"])
    yield from metrics(said)
    for head in said["heads"]:
        words = f"in the top {TOP_HEADS} by size"
        yield stands(f"{head}, denoising", words, "heads", head, "size", lambda found: found.place <= TOP_HEADS)
    layers = ", ".join(map(str, said["neuron_layers"]))
    for sign, order in (("positive", "highest"), ("negative", "lowest")):
        chosen = said["neurons"][sign]

        def strongest(found: Rank, count: int = len(chosen), sign: int = 1 if sign == "positive" else -1) -> bool:
            return found.place <= count and found.score * sign > 0

        for neuron in chosen:
            name, words = f"{neuron}, denoising", f"{sign}, of the strongest {len(chosen)} in layers {layers}"
            yield stands(name, words, "neurons", neuron, order, strongest)
    wanted = said["ov"]["L9H7"]
    yield Check(
        "L9H7: top tokens of the OV circuit's first vectors",
        " ".join(wanted),
        lambda measured: [word for word in wanted if any(word in top for top in measured.vectors("L9H7"))],
        lambda found: found == wanted,
    )
    yield Check(
        "L10H9: top tokens of the OV circuit's first vectors",
        said["ov"]["L10H9"],
        lambda measured: max(measured.vectors("L10H9"), key=female),
        lambda found: female(found) > len(found) / 2,
    )


def female(words: Sequence[str]) -> int:
    """How many of the words are female pronouns."""
    return sum(word.casefold() in FEMALE for word in words)


def tag_questions(said: Row) -> Iterator[Check]:
    rows = [
        (template.format(name), None, pronoun, ({" she", " he"} - {pronoun}).pop())
        for template in said["templates"]
        for name, pronoun in said["names"].items()
    ]
    for row, value in zip(rows, said["logit_diffs"], strict=True):

        def metric(measured: Measured, row: tuple[Any, ...] = row) -> float:
            return measured.logit_diff(*row).clean_metric

        yield number(f"{row[0]}: logit diff", value, decimals(said["logit_diffs"]), metric)
    yield number(
        "mean of the 25",
        said["mean"],
        decimals([said["mean"]]),
        lambda measured: sum(measured.logit_diff(*row).clean_metric for row in rows) / len(rows),
    )
    yield from next_tokens(said["tables"])
    yield from metrics(said)
    yield from ablations(said["ablation"])
    yield from biases(said)


def ablations(said: Row) -> Iterator[Check]:
    """A score is what a value adds: without it, the loss rises, or the logit difference falls, by as much."""
    loss, diff = said["loss"], said["logit_diff"]
    name, frame = "loss without the value of {}", "loss_ablations"
    head = loss["raises_most"]
    yield stands(name.format(head), "rises most", frame, head, "highest", lambda found: found.place == 1)
    head = loss["lowers"]
    yield stands(name.format(head), "falls", frame, head, "lowest", lambda found: found.score < 0)
    name, frame = "logit diff without the value of {}", "logit_diff_ablations"
    head = diff["lowers"]
    yield stands(name.format(head), "falls", frame, head, "highest", lambda found: found.score > 0)
    head = diff["raises"]
    yield stands(name.format(head), "rises", frame, head, "lowest", lambda found: found.score < 0)


def biases(said: Row) -> Iterator[Check]:
    pair = tuple(said[part] for part in ("clean", "corrupted", "correct", "incorrect"))

    def cell(word: str, column: str) -> Callable[[Measured], float]:
        return lambda measured: float(measured.logit_diff(*pair).bias.set_index("token")[column][word])

    for word, value in said["bias"].items():
        yield number(f"folded unembedding bias of{word}", value, decimals([value]), cell(word, "bias"))
    yield number("its odds, he to she", said["odds"], decimals([said["odds"]]), cell(said["incorrect"], "odds"))


CHECKS: tuple[Check, ...] = (
    *pronouns(PUBLISHED["pronouns"]),
    *tag_questions(PUBLISHED["tag_questions"]),
    *(check for row in PUBLISHED["by_hand"] for check in metrics(row)),
)
