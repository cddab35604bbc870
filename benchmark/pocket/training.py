"""Pocket's architecture and its training: a GPT-2 of four layers that predicts every word of the world's texts."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from benchmark.pocket.vocabulary import N_POSITIONS
from benchmark.pocket.world import World

IGNORED = -100  # a label that the loss leaves out


@dataclass(frozen=True)
class Recipe:
    """All that the weights depend on, beside the world and the number of threads."""

    steps: int = 4096
    batch: int = 128  # texts a step
    seed: int = 0
    peak_rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 0.05
    checkpoints: int = 9  # from step 1 to the last, evenly spaced on the logarithm of the step; step 0 comes on top

    def checkpoint_steps(self) -> tuple[int, ...]:
        intervals = self.checkpoints - 1
        return tuple(sorted({0, *(round(self.steps ** (place / intervals)) for place in range(intervals + 1))}))

    def rate(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero: agreement swings as long as the rate stays high."""
        warmup = min(self.warmup, self.steps // 4)
        if step < warmup:
            return self.peak_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.steps - warmup)
        return self.peak_rate * (1 + math.cos(math.pi * done)) / 2


def new_model(tokenizer: Any, seed: int) -> Any:
    """4 layers of 8 heads and 512 neurons, untrained."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=N_POSITIONS,
        n_embd=128,
        n_layer=4,
        n_head=8,
        n_inner=512,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return GPT2LMHeadModel(config)


def train(
    recipe: Recipe, world: World, tokenizer: Any, device: str = "cpu", at: Callable[[int, Any], None] | None = None
) -> Iterator[float]:
    """Trains a new model and yields the loss (nats a token) of each step.

    `at(step, model)` is called before the first step with 0, and after every step with the number of steps done.
    """
    model = new_model(tokenizer, recipe.seed).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=recipe.weight_decay)
    texts = world.texts(recipe.seed)
    notice = at or (lambda step, model: None)
    notice(0, model)
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step)
        loss = _accumulate(model, encoded(list(islice(texts, recipe.batch)), tokenizer), device)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        notice(step + 1, model)
        yield loss


def encoded(texts: list[str], tokenizer: Any) -> list[list[int]]:
    """Token ids of each text between the token that begins it and the same token, which ends it."""
    bare = tokenizer(texts, add_special_tokens=False)["input_ids"]
    if any(tokenizer.unk_token_id in ids for ids in bare):
        raise ValueError("a training text has a word that the tokenizer doesn't know: rebuild the vocabulary")
    return [[tokenizer.bos_token_id, *ids, tokenizer.eos_token_id] for ids in bare]


def _accumulate(model: Any, texts: list[list[int]], device: str, parts: int = 4) -> float:
    """Gradients of the mean loss of a token, from texts of like length together, so that little is padded."""
    tokens = sum(len(ids) - 1 for ids in texts)
    ordered = sorted(texts, key=len)
    size = math.ceil(len(texts) / parts)
    total = 0.0
    for start in range(0, len(ordered), size):
        inputs, labels = padded(ordered[start : start + size])
        logits = model(inputs.to(device), use_cache=False).logits
        summed = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten().to(device), ignore_index=IGNORED, reduction="sum"
        )
        (summed / tokens).backward()  # type: ignore[no-untyped-call]
        total += float(summed.detach()) / tokens
    return total


def padded(texts: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Inputs and the tokens that follow them; padding stands on the right, where no real token can see it."""
    longest = max(map(len, texts)) - 1
    inputs, labels = torch.zeros(len(texts), longest, dtype=torch.long), torch.full((len(texts), longest), IGNORED)
    for row, ids in enumerate(texts):
        inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        labels[row, : len(ids) - 1] = torch.tensor(ids[1:])
    return inputs, labels
