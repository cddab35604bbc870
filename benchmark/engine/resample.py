"""The resample replacement: activations of other rows' prompts of the same length, drawn at random.

To a method it is a counterfactual one. Each pair stands there as many times as there are draws, every time with
another row's prompt in place of its corrupted one; its score is the mean over the draws. Zero and mean ablation put
activations into a model that it never has; these it has (resample ablation: Chan et al. 2022, Conmy et al. 2023).
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from benchmark.components import DRAWS, RESAMPLE
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import Pairs


def draws_of(replacement: str, draws: int | None) -> int:
    """How many draws a pair gets: by default DRAWS, and 0 where the replacement draws nothing."""
    if replacement != RESAMPLE.replacement:
        if draws is not None:
            raise BenchmarkError(
                f"Replacement {replacement!r} draws nothing: leave out draws={draws}, or use {RESAMPLE.replacement!r}."
            )
        return 0
    if draws is not None and draws < 1:
        raise BenchmarkError(f"draws={draws}: at least 1 draw is needed.")
    return draws or DRAWS


def resampled(pairs: Pairs, draws: int, seed: int) -> Pairs:
    """Every pair `draws` times in a row, with prompts of other rows in place of its corrupted one.

    They are drawn independently, fixed by the seed and the pair's id: not by which other pairs are there. The first
    ones of many draws are those of few.
    """
    pairs.refuse_replacement(RESAMPLE.replacement)
    drawn = [
        replace(pair, corrupted=prompt, partners=None)
        for pair in pairs.pairs
        for prompt in random.Random(f"{seed} {pair.prompt.id}").choices(pairs.donors(pair), k=draws)
    ]
    return replace(pairs, pairs=tuple(drawn))


def over_draws(found: Mapping[str, Tensor], draws: int, kinds: Sequence[str]) -> dict[str, Tensor]:
    """Means over each pair's draws of all that a method gave, `[row, ...]`; with the standard errors of its scores.

    These are `s / sqrt(draws)`, of two draws at least. What a method draws by itself may be the same in all draws of
    prompts, so that no mean over these takes it away: its own standard errors, where it knows them, are added, squared.
    """
    by_pair = {name: values.reshape(-1, draws, *values.shape[1:]) for name, values in found.items()}
    means = {name: values.mean(1) for name, values in by_pair.items()}
    for kind in kinds:
        name, squared = f"{kind}.standard_error", by_pair[kind].var(1) / draws
        means[name] = (squared + (by_pair[name] ** 2).mean(1).nan_to_num() if name in by_pair else squared).sqrt()
    return means
