"""The metric's resolution: the size below which a score is noise of the number format."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from benchmark.components import FEATURE_KINDS
from benchmark.engine.memory import whole_prompts
from benchmark.engine.model import Model
from benchmark.engine.precision import step, wide
from benchmark.prompts.pairs import Pairs
from benchmark.statistics.moderated import moderated

DRAWS = 8  # they give a pair's resolution to within a quarter, alone, and the mean's of 32 pairs to within 5%
_ROWS = 32  # in a forward
_MOVED = 4  # rows that one takes the memory of, while its widest activation is moved


@torch.no_grad()
def resolution(
    model: Model, pairs: Pairs, direction: str, draws: int = DRAWS, budget: int | None = None
) -> Float[Tensor, " pair"]:
    """By how much F(1) moves where the activations move by a random half step of the number format, in the metric.

    Root mean square over `draws` of F(1) with every site's activation moved, less F(1): a difference between two runs,
    as a score is. So few draws can come out a half too low for a pair, and then scores above it are noise: its mean
    square is averaged with the one that all pairs have in common (`statistics.moderated`). Every site: heads, neurons,
    attention and MLP outputs, the residual stream before each block and behind the last, queries, keys, values and
    patterns, of those that the model has. A number moves by a whole step up, by one down, or (half of them) not at all:
    half a step lies between two numbers of the format, where none can stand. Under TF32, which rounds what enters
    products, the steps are those of TF32. Never below float32's own step at the size of F(1): scores are stored in
    float32. Of the run's prompt: the clean one for noising, the corrupted one for denoising. `budget` bounds the bytes
    of a forward, as in `memory.whole_prompts`.
    """
    generator = torch.Generator(model.device).manual_seed(0)
    size = step(model.dtype, model.matmul)
    kinds = [kind for kind in model.kinds if kind not in (*FEATURE_KINDS, "embedding")]  # that is residual stream 0
    edits = dict.fromkeys(model.sites(kinds), partial(moved, size=size, generator=generator))
    squares, floor = torch.zeros(2, len(pairs), dtype=torch.float64)
    fit = max(1, min(_ROWS, whole_prompts(model, pairs.longest, budget) // _MOVED))
    with model.uncounted():
        for batch in pairs.batches(max(1, fit // draws)):
            base = batch.clean if direction == "noising" else batch.both()[1]
            rows = torch.arange(len(batch))
            unpatched = model.run(batch.clean) if batch.metric_function.needs_unpatched else None
            at_one = batch.value(model, base, rows, unpatched=unpatched).double()
            pieces = torch.split(rows.repeat(draws), max(len(batch), fit))
            found_there = [batch.value(model, base[some], some, edits, unpatched=unpatched) for some in pieces]
            values = torch.cat(found_there).double().reshape(draws, -1)
            floor[list(batch.index)] = torch.finfo(torch.float32).eps * at_one.abs().cpu()
            squares[list(batch.index)] = (values - at_one).square().mean(0).cpu()
    return torch.from_numpy(moderated(squares.numpy(), draws)).sqrt().maximum(floor)


def moved(value: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """Every number one step of its format up, one down, or (half of them) left alone; zeros stay."""
    exact = wide(value)
    bits, exponent = (torch.int32, 0xFF << 23) if exact.dtype == torch.float32 else (torch.int64, 0x7FF << 52)
    power = (exact.view(bits) & exponent).view(exact.dtype)  # the power of 2 below the number, 0 of 0
    drawn = torch.randint(4, value.shape, generator=generator, device=value.device, dtype=torch.int8)
    return torch.addcmul(exact, power, ((drawn >> 1) + (drawn & 1) - 1).to(exact), value=size).to(value)
