"""Path effects over pairs of prompts: `path_effects` from Python, and what the `paths` command makes of them."""

import re
from collections.abc import Callable, Sequence

import pandas as pd
import torch

from benchmark.components import COUNTERFACTUAL, KIND_WORDS, MEAN, WAYS, Way, component_named
from benchmark.engine.kinds import HEAD, RESIDUAL
from benchmark.engine.means import mean_activations
from benchmark.engine.memory import Chunk, fitting_chunk
from benchmark.engine.model import Model
from benchmark.engine.paths import LOGITS, SENDERS, Node, Paths
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from benchmark.progress import bar
from benchmark.prompts.pairs import Pairs
from benchmark.statistics.halves import halves
from benchmark.statistics.mean_score import mean_scores

ALL = "all"
_LETTERS = {words.letter: kind for kind, words in KIND_WORDS.items()}


@torch.inference_mode(mode=False)
@torch.enable_grad()
def path_effects(
    model: Model,
    pairs: Pairs,
    senders: Sequence[str] | str,
    receivers: Sequence[str] | str,
    *,
    gradient: bool = False,
    through: str | None = None,
    replacement: str = COUNTERFACTUAL.replacement,
    direction: str = COUNTERFACTUAL.direction,
    chunk: Chunk | None = None,
    progress: Callable[[float], None] | None = None,
) -> pd.DataFrame:
    """The effect of senders on the metric through receivers alone, along the direct path between them.

    `senders` are heads (`L0H1`), neurons (`L0N7`), attention or MLP outputs (`L0A`, `L0M`), or `"all"`: every head
    below a receiver. `receivers` are queries, keys and values by their names (`L2Q0`, `L2K0`, `L2V0`) or as those that
    a head reads (`L2H4:key`: heads may share one), or `logits`. `gradient` gives the first-order effect; with
    `through="mlps"` the MLPs in between are computed again. A row a pair, sender and receiver, in the order of the
    pairs; positive: what the clean sender sends there pushes the metric towards the clean answer. Raises BenchmarkError
    where the model has no such component.

    Wang et al. 2023, arXiv:2211.00593; Goldowsky-Dill et al. 2023, arXiv:2304.05969.
    """
    if not isinstance(model, Model) or not isinstance(pairs, Pairs):
        raise BenchmarkError("path_effects() needs a model from `load_model` and pairs from `task.pairs(model)`.")
    if Way(direction, replacement) not in WAYS:
        raise BenchmarkError(f"Paths can't do {direction} with {replacement}: choose {', '.join(map(str, WAYS))}.")
    model.refuse_train_mode()
    pairs.refuse_other_tokens(model.tokens)
    pairs.refuse_replacement(replacement)
    ends = list(dict.fromkeys(receiver(name, model) for name in _listed(receivers)))
    named = _below(model, ends) if senders == ALL else [sender(name, model) for name in _listed(senders)]
    starts = list(dict.fromkeys(named))
    if not starts or not ends:
        raise BenchmarkError("A path needs a sender and a receiver: name at least one of each.")
    kinds = tuple(dict.fromkeys(node.kind for node in starts))
    tokens, at_once, rows = chunk or fitting_chunk(model, pairs.longest, gradients=gradient)
    means = mean_activations(model, pairs, kinds, at_once) if replacement == MEAN.replacement else {}
    request = Request(
        kinds, replacement, direction, means=means, tokens_per_forward=tokens, rows_per_forward=rows,
        pairs_per_batch=at_once,
    )  # fmt: skip
    found = torch.zeros(len(pairs), len(starts), len(ends), dtype=torch.float64)
    with bar(len(pairs), f"{pairs.task} x paths", "pair", hidden=progress is not None) as shown:
        for batch in pairs.batches(at_once):
            paths = Paths(model, batch, request, through)
            effects = paths.estimates(starts, ends) if gradient else paths.effects(starts, ends)
            found[list(batch.index)] = effects.double().cpu()
            (progress or shown.advance)(len(batch))
    names = pd.MultiIndex.from_product(
        [pairs.ids, [node.name for node in starts], [node.name for node in ends]], names=["pair", "sender", "receiver"]
    )
    return pd.DataFrame({"effect": found.flatten().numpy()}, index=names).reset_index()


def mean_effects(effects: pd.DataFrame, pairs: Pairs) -> pd.DataFrame:
    """A row a path: its mean over the pairs that gave these effects, with the 95% interval where they are enough."""
    prompts = [pair.prompt for pair in pairs.pairs]
    splits = halves(len(pairs), [one.cluster for one in prompts], [one.template for one in prompts])
    mean, low, high = mean_scores(effects.effect.to_numpy().reshape(len(pairs), -1), splits)
    found = effects[["sender", "receiver"]].iloc[: len(mean)]
    return found.assign(effect=mean, low=low, high=high, pairs=len(pairs))


def sender(name: str, model: Model) -> Node:
    """A component by its name. Raises BenchmarkError where it can't send, or isn't there."""
    said = f"{name!r} is no sender: write a head as L0H1, a neuron as L0N7, an output as L0A or L0M."
    try:
        node = Node(*component_named(name))
    except BenchmarkError as error:
        raise BenchmarkError(said) from error
    if node.kind not in SENDERS:
        raise BenchmarkError(said)
    return _there(node, name, model)


def receiver(name: str, model: Model) -> Node:
    """`L2Q0`, `L2K0`, `L2V0`, `logits`, or what a head reads, such as `L2H4:key`. Raises where it isn't there."""
    if name == LOGITS:
        return Node(RESIDUAL.name, model.n_layers)
    found = re.fullmatch(r"L(\d+)(?:([QKV])(\d+)|H(\d+):(query|key|value))", name)
    if not found:
        raise BenchmarkError(
            f"{name!r} is no receiver: write a query as L2Q0 (keys K, values V), one that a head reads as L2H0:query, "
            "L2H0:key or L2H0:value, or logits."
        )
    layer, letter, index, head, kind = found.groups()
    if letter:
        return _there(Node(_LETTERS[letter], int(layer), int(index)), name, model)
    node = _there(Node(HEAD.name, int(layer), int(head)), name, model)
    model.refuse([kind])
    return Node(kind, node.layer, node.index * model.size(kind) // model.n_heads)


def _there(node: Node, name: str, model: Model) -> Node:
    model.refuse_absent(node.kind, node.layer, node.index, repr(name))
    return node


def _below(model: Model, receivers: Sequence[Node]) -> list[Node]:
    layers = range(max((node.layer for node in receivers), default=0))
    return [Node(HEAD.name, layer, index) for layer in layers for index in range(model.n_heads)]


def _listed(names: Sequence[str] | str) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
