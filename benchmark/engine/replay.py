"""Runs that start in the middle of a recorded one: what no edit reaches isn't computed again.

The model's own modules are replayed, whatever its architecture. Each shortcut is tried on a model before it is taken
(`shortcuts`). One that doesn't give the logits of a whole run there is left out. The provenance says which were taken.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache

from benchmark.components import DEFAULT_KINDS
from benchmark.engine.fused import Part, parts, unless_hooked
from benchmark.engine.hooked import Hook
from benchmark.engine.measure_stream import close
from benchmark.engine.model import Edit, Model, Site, keeping
from benchmark.engine.precision import unembedded

SHORTCUTS = {
    "layers": "each patched row starts from the recorded residual stream, at the layer of its edit",
    "site": "in the edited layer, what feeds the edited site comes from the recorded run",
    "prefix": "positions before the first difference stand in a key-value cache",
    "last position": "in the last block, queries, attention output and MLP are computed at the last position only",
    "answers": "only the answers' rows of the unembedding are computed",
    "norm": "norms that nothing hooks run as one operation",
    "activation": "so do activations that are written as several operations",
    "attention": "attentions that nothing hooks run as the model itself runs them",
}


KNOWN: MutableMapping[Model, dict[str, tuple[str, ...]]] = WeakKeyDictionary()  # by kind, of each model that was tried


@dataclass(frozen=True)
class Recording:
    """One run of the model, kept so that others can start in its middle.

    `residuals[layer]` is what entered the block of that layer, `attention[layer]` its attention's output,
    `keys_values[layer]` what its attention cached. The logits are those at the last position, or at all. `beside` are
    the logits at the last position and the activations of other prompts that ran along. Of a model on several devices,
    `residuals`, `attention` and `keys_values` are where they were made, the rest on the model's own.
    """

    tokens: Int[Tensor, "row pos"]
    logits: Float[Tensor, "row *pos vocab"]
    activations: dict[Site, Tensor]
    residuals: list[Tensor]
    attention: list[Tensor]
    keys_values: list[tuple[Tensor, Tensor]]
    beside: tuple[Tensor, dict[Site, Tensor]] | None = None


@torch.no_grad()
def record(
    model: Model,
    tokens: Int[Tensor, "row pos"],
    sites: Iterable[Site],
    reads: str = "last",
    beside: Int[Tensor, "other pos"] | None = None,
    taking: Collection[str] = (),
) -> Recording:
    """A run that others can resume from any layer, behind any prefix; prompts `beside` it share its forward.

    `taking` are the shortcuts that these will take: what they run as one operation is run so here, so that it rounds
    alike.
    """
    count, device = len(tokens), model.device
    activations: dict[Site, Tensor] = {}
    residuals: list[Tensor] = []
    attention: list[Tensor] = []
    kept = {"hook_in": residuals, "attn.hook_out": attention}
    hooks = [
        (name, lambda value, hook, values=values: values.append(value.detach()[:count].clone()))
        for layer in range(model.n_layers)
        for place, values in kept.items()
        if model.has_place(name := f"blocks.{layer}.{place}")  # not every layer of a hybrid has attention
    ]
    cache = DynamicCache() if model.has_cache else None
    tokens = tokens.to(device)
    model.refuse_train_mode()
    fed = tokens if beside is None else torch.cat([tokens, beside.to(device)])
    with ExitStack() as swaps:
        for part in _at_once(model, taking, 0):
            _swap(swaps, part.module, part.forward(set()))
        logits = model.logits(fed, [*model.hooks(keeping(activations, sites)), *hooks], cache, reads=reads)
    keys_values = [(layer.keys, layer.values) for layer in cache.layers] if cache is not None else []
    if beside is None:
        return Recording(tokens, logits, activations, residuals, attention, keys_values)
    keys_values = [(keys[:count].clone(), values[:count].clone()) for keys, values in keys_values]
    others = logits[count:] if reads == "last" else logits[count:, -1]
    own, theirs = (
        {site: value[rows] for site, value in activations.items()} for rows in (slice(count), slice(count, None))
    )
    return Recording(tokens, logits[:count], own, residuals, attention, keys_values, (others, theirs))


def resume(
    model: Model,
    recording: Recording,
    rows: Int[Tensor, " row"],
    starts: Sequence[int],
    prefix: int,
    edits: Mapping[Site, Edit],
    embedding: Edit | None = None,
    vocabulary: Int[Tensor, " token"] | None = None,
    taking: Collection[str] | None = None,
    reads: str = "last",
    hooks: Sequence[Hook] = (),
) -> Float[Tensor, "row *pos token"]:
    """Logits of rows of a recorded run, edited, at the last position or at all; of the tokens in `vocabulary` only,
    where it is given.

    Row i enters at layer `starts[i]` (ascending). An edit at layer l receives only rows with start <= l, and only
    positions from `prefix` on. The result is exact where no edit of a row lies below its start or before `prefix`.
    `taking` are the shortcuts that work on the model, unless others are given. `hooks` that change no value may come
    along.
    """
    asked = {site.kind for site in edits}
    ways = set(shortcuts(model, asked) if taking is None else taking)
    if reads == "all":
        ways.discard("last position")
    length, last = recording.tokens.shape[1], model.n_layers - 1
    joining = "layers" in ways and embedding is None
    counts = [bisect_right(starts, layer) if joining else len(rows) for layer in range(model.n_layers)]
    lowest = starts[0] if joining else 0
    cached = model.longest_prefix(length) if "prefix" in ways else 0
    # in the last layer, an edit of such a kind at another position than the last one changes nothing
    ends = joining and lowest == last and "last position" in ways and all(model.kind(kind).last_only for kind in asked)
    prefix = cached if ends else min(prefix, cached)
    kinds = [kind for kind in asked if Site(kind, lowest) in edits]
    stand_in = model.kind(kinds[0]).stand_in if len(kinds) == 1 else None
    standing_in = "site" in ways and joining and counts[lowest] == len(rows) and stand_in is not None
    block, final = model.blocks[lowest], model.blocks[last]
    taken = {"prefix"} if prefix else set()
    at_once = _at_once(model, ways, lowest)
    with ExitStack() as swaps:
        swap = partial(_swap, swaps)
        for part in at_once:
            swap(part.module, part.forward(taken))
        if joining:
            for below in model.blocks[:lowest]:
                swap(below.module, lambda hidden, *_, **__: (hidden,) if model.blocks_return_tuples else hidden)
            for layer in range(lowest, model.n_layers):
                before = counts[layer - 1] if layer > lowest else 0
                if counts[layer] > before:
                    joined = _rows(recording.residuals[layer], rows[before : counts[layer]], prefix)
                    module = model.blocks[layer].module
                    swap(module, partial(_with_rows, module.forward, joined, before))
        if "last position" in ways and length - prefix > 1:
            taken.add("last position")
            for module in (final.queries, final.attention_output, final.mlp):
                swap(module, partial(_at_last_position, module.forward))
            if (norm := model.final_norm) is not None:
                swap(norm, unless_hooked(norm, partial(_at_last_position, norm.forward)))
        if standing_in:
            assert stand_in is not None
            taken.add("site")
            activation = _rows(recording.activations[Site(kinds[0], lowest)], rows, prefix)
            for module, forward in stand_in(block, activation, _rows(recording.attention[lowest], rows, prefix)):
                swap(module, forward)
        if "answers" in ways and vocabulary is not None:
            taken.add("answers")
            weight, bias = (part[vocabulary.to(part.device)] for part in model.unembedding())
            swap(model.unembedding_module, lambda hidden, **_: unembedded(hidden.to(weight.device), weight, bias))
        cache = _prefilled(recording, rows, counts, lowest, prefix) if prefix else None
        if cache is None and "prefix" in ways and model.has_cache:
            cache = _Passing()
        fed = recording.tokens[rows[:1] if joining else rows, prefix:]  # a single row shows the model the positions
        under = [*model.hooks(edits, embedding), *hooks]
        logits = model.logits(fed, under, cache, counts, (length - prefix) / length, reads)
    model.passes.shortcuts.update(dict.fromkeys(taken, len(rows)))
    model.passes.shortcuts["layers"] += sum(start > 0 for start in starts) if joining else 0
    if reads == "all" and prefix:
        logits = torch.cat([recording.logits[rows, :prefix], logits], dim=1)
    return logits if vocabulary is None or "answers" in taken else logits[..., vocabulary]


def _at_once(model: Model, ways: Collection[str], lowest: int) -> list[Part]:
    """What runs as one operation from a layer on."""
    found = [part for part in parts(model) if part.name in ways and part.layer >= lowest and part.free] if ways else []
    if "last position" in ways:  # where the last queries are computed alone
        found = [part for part in found if (part.name, part.layer) != ("attention", model.n_layers - 1)]
    return found


def shortcuts(model: Model, kinds: Iterable[str] = DEFAULT_KINDS) -> tuple[str, ...]:
    """Those of `SHORTCUTS` that give a whole run's logits for edits of these kinds on this model; tried once."""
    known = KNOWN.setdefault(model, {})
    read = {model.kind(kind).name for kind in kinds} & set(model.kinds)
    for kind in read - set(known):
        known[kind] = _working(model, kind)
    return tuple(way for way in SHORTCUTS if all(way in known[kind] for kind in read))


@torch.no_grad()
def _working(model: Model, kind: str) -> tuple[str, ...]:
    """The shortcuts that hold, on random tokens and edits of a kind."""
    generator = torch.Generator().manual_seed(0)
    vocabulary = torch.arange(min(64, model.d_vocab), device=model.device)
    tokens = torch.randint(model.d_vocab, (2, 5), generator=generator).to(model.device)
    with model.uncounted():
        recorded = record(model, tokens, model.sites([kind]))
        exact = partial(_exact, model, recorded, kind, vocabulary, {})
        working = [*SHORTCUTS]
        if not exact(working):  # each on top of those that were found to work
            working = []
            for shortcut in SHORTCUTS:
                if exact([*working, shortcut]):
                    working.append(shortcut)
    return tuple(working)


def _exact(
    model: Model,
    recorded: Recording,
    kind: str,
    vocabulary: Tensor,
    wanted: dict[Site, Tensor],
    taking: Collection[str],
) -> bool:
    """Whether these shortcuts give what whole runs do, whose logits are kept in `wanted`."""
    rows, prefix = torch.tensor([1, 0], device=model.device), 2
    lower = min(1, max(0, model.n_layers - 2), model.layers(kind) - 1)  # below the last one, where there are two
    layers = {lower, model.n_layers // 2, *range(model.n_layers - 1, model.layers(kind))}
    for site in (Site(kind, layer) for layer in sorted(layers) if layer < model.layers(kind)):

        def turn(live: Tensor) -> Tensor:
            first = max(0, prefix - (recorded.tokens.shape[1] - live.shape[1]))
            return torch.cat([live[:, :first], -3 * live[:, first:]], dim=1)

        if site not in wanted:
            wanted[site] = model.run(recorded.tokens[rows], {site: turn})[:, vocabulary]
        effect = wanted[site] - recorded.logits[rows][:, vocabulary]
        try:
            start = model.start(site)
            got = resume(model, recorded, rows, [start] * 2, prefix, {site: turn}, None, vocabulary, taking)
            if not close(got, wanted[site], effect, model.dtype):
                return False
        except torch.OutOfMemoryError:
            raise
        except Exception:  # whatever a module makes of a call that isn't its usual one: this isn't its way
            return False
    return True


@contextmanager
def swapped(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """The module runs another forward while this holds."""
    kept = vars(module).get("forward")
    vars(module)["forward"] = forward  # not setattr: the bridge passes it on to the module that it wraps
    try:
        yield
    finally:
        if kept is None:
            del vars(module)["forward"]
        else:
            vars(module)["forward"] = kept


def _swap(swaps: ExitStack, module: nn.Module, forward: Callable[..., Any]) -> None:
    swaps.enter_context(swapped(module, forward))


def _rows(value: Tensor, rows: Tensor, prefix: int) -> Tensor:
    """Rows of what was recorded, without the prefix, where it is."""
    return value[rows.to(value.device), prefix:]


def _with_rows(
    forward: Callable[..., Any], joined: Tensor, before: int, hidden: Tensor, *arguments: Any, **options: Any
) -> Any:
    """A block's forward, with rows that join the ones that came from below."""
    return forward(torch.cat([hidden, joined.to(hidden.device)]) if before else joined, *arguments, **options)


def _at_last_position(forward: Callable[..., Any], value: Tensor, *arguments: Any, **options: Any) -> Tensor:
    """A module's forward for the last position; zeros stand at the others, which nobody reads."""
    output: Tensor = forward(value[:, -1:], *arguments, **options)
    if output.shape[1] != 1:  # Bloom's adds the residual stream itself
        raise ValueError("this module's last output needs more than its last input")
    return functional.pad(output, (0, 0, value.shape[1] - 1, 0))


class _Passing(DynamicCache):  # type: ignore[misc]
    """Keeps nothing. Without a cache, transformers looks in each forward for prompts packed into one, and waits."""

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return keys, values


def _prefilled(recording: Recording, rows: Tensor, counts: Sequence[int], lowest: int, prefix: int) -> DynamicCache:
    """The keys and values of the prefix, for the rows that each layer sees."""
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(recording.keys_values):
        if layer == 0 or layer >= lowest:  # the first one tells the model how long the prefix is
            seen = rows[: max(1, counts[layer])].to(keys.device)
            cache.update(keys[seen, :, :prefix], values[seen, :, :prefix], layer)
    return cache
