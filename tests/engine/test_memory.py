"""Chunks from a memory budget, and what happens where memory runs out."""

import ctypes
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from psutil import Process
from transformers import GPT2Config, GPT2LMHeadModel

from benchmark import PromptPair, logit_diff, make_pairs
from benchmark.engine.integrals import AT_ONE
from benchmark.engine.intervention import Intervention
from benchmark.engine.means import mean_activations
from benchmark.engine.memory import (
    Chunk,
    choose_chunk,
    free_bytes,
    needs,
    parse_bytes,
    peak_bytes,
    reset_peak,
    within_memory,
)
from benchmark.engine.method import Cost, Method, metrics
from benchmark.engine.model import Model
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import Pairs
from benchmark.running.plugins import load_method
from tests.tiny import PAIRS, tiny_pairs, tokenizer


def repeated(model: Model, times: int) -> Pairs:
    return tiny_pairs(model, tuple(replace(pair, id=f"{pair.clean}-{n}") for n in range(times) for pair in PAIRS))


@pytest.mark.parametrize(("text", "size"), [("4GiB", 2**32), ("512 MB", 2**29), ("1.5k", 1536), ("100", 100)])
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "much", "0", "-1GiB", "4 GiB please"])
def test_other_words_are_errors(text: str) -> None:
    with pytest.raises(BenchmarkError, match="such as 4GiB"):
        parse_bytes(text)


def test_a_larger_budget_never_gives_a_smaller_chunk(deep_llama: Model) -> None:
    budgets = [2**power for power in range(21, 40)]
    for gradients in (False, True):
        chunks = [choose_chunk(deep_llama, 8, budget, gradients) for budget in budgets]
        assert chunks == sorted(chunks)
        assert chunks[0] < chunks[-1]
        assert chunks[-1].pairs == Chunk().pairs
    assert choose_chunk(deep_llama, 8, 2**21, True).tokens < choose_chunk(deep_llama, 8, 2**21, False).tokens
    with pytest.raises(BenchmarkError, match="too small for one prompt of 8 tokens"):
        choose_chunk(deep_llama, 8, 1000, False)


def of_a_long_prompt() -> tuple[int, int, str]:
    """Bytes that a long prompt takes, those that are reckoned, and what is said where there is one too few."""
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before isn't there to be taken again
    sizes = {"vocab_size": 23, "n_embd": 96, "n_head": 12, "n_layer": 4, "n_positions": 1200}
    config = GPT2Config(**sizes, bos_token_id=1, eos_token_id=1)
    model = Model.from_hf(GPT2LMHeadModel(config).eval(), tokenizer(), "long", prepend_bos=False)
    words = " the" * 1100
    pairs = make_pairs(model, [PromptPair("Mary" + words, "Ann" + words, " cat", " dog")], logit_diff)
    method, one = load_method("attribution-patching"), Chunk(pairs.longest, 1, 1)
    method.scores(model, tiny_pairs(model), chunk=one)
    before = Process().memory_info().rss
    reset_peak(model)
    method.scores(model, pairs, chunk=one)
    used = peak_bytes(model)
    assert used is not None
    each = needs(model, pairs.longest, gradients=True)
    reckoned = pairs.longest * (each.token + each.kept) + each.row
    assert choose_chunk(model, pairs.longest, reckoned + 1, True) == one
    with pytest.raises(BenchmarkError) as refused:
        choose_chunk(model, pairs.longest, reckoned - 1, True)
    return used - before, reckoned, str(refused.value)


def test_a_long_prompt_takes_what_is_reckoned_within_half_as_much_again() -> None:
    """In a process of its own: forked, where gradients of a fork work, which takes no seconds of imports."""
    way = "fork" if sys.platform == "linux" and not torch.cuda.is_available() else "spawn"
    with ProcessPoolExecutor(1, multiprocessing.get_context(way)) as apart:
        used, reckoned, words = apart.submit(of_a_long_prompt).result()
    assert "too small for one prompt of 1101 tokens" in words
    assert used > 2**28
    assert used / 1.5 < reckoned < used * 1.5


def test_rows_pay_for_keys_and_logits(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = choose_chunk(llama, 8, 2**26, False).rows
    assert choose_chunk(llama, 32, 2**26, False).rows < rows
    monkeypatch.setattr(llama, "d_vocab", 150_000)
    assert choose_chunk(llama, 8, 2**26, False).rows < rows / 2


def test_whole_prompts_share_a_forward_where_they_fit_in_half_of_the_budget(
    llama: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stays for their batch is less: by that alone, recording them took a quarter more than the budget."""
    length, budget = 600, 2**28
    each, chunk = needs(llama, length, gradients=False), choose_chunk(llama, length, budget, False)
    assert 1 < chunk.pairs < budget // 2 // (length * each.kept)
    assert chunk.pairs * (length * each.token + each.row) <= budget // 2
    rows: list[int] = []
    logits = Model.logits

    def watched(self: Model, tokens: torch.Tensor, *more: Any, **options: Any):  # type: ignore[no-untyped-def]
        rows.append(len(tokens))
        return logits(self, tokens, *more, **options)

    monkeypatch.setattr(Model, "logits", watched)
    monkeypatch.setattr("benchmark.engine.method.whole_prompts", lambda model, length: 2)
    found = metrics(llama, repeated(llama, 2))["clean"]
    assert max(rows) == 2
    torch.testing.assert_close(metrics(llama, repeated(llama, 2), 32)["clean"], found)
    rows.clear()
    mean_activations(llama, repeated(llama, 2), ("head",), 1)
    assert max(rows) == 1


def test_what_is_free_and_what_was_held(llama: Model) -> None:
    assert free_bytes(llama.device) > 2**20
    reset_peak(llama)
    before = peak_bytes(llama)
    assert before is not None
    held = torch.ones(2**26)
    assert peak_bytes(llama) >= before + 2**27
    del held


def test_forwards_and_batches_do_not_grow_with_the_pairs(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    largest: dict[str, int] = {}
    logits = Model.logits

    def watched(
        self: Model, tokens: torch.Tensor, hooks: Any, cache: Any = None, rows: Any = (), *more: Any, **options: Any
    ):
        size = max(rows or [len(tokens)]) * tokens.shape[1]
        largest["tokens"] = max(largest.get("tokens", 0), size)
        return logits(self, tokens, hooks, cache, rows, *more, **options)

    monkeypatch.setattr(Model, "logits", watched)
    for name in ("activation-patching", "integrated-gradients", "attribution-patching"):
        seen = []
        for times in (2, 3):
            largest.clear()
            load_method(name).scores(llama, repeated(llama, times), chunk=Chunk(60, 4))
            seen.append(largest["tokens"])
        assert seen[0] == seen[1] <= 60


@dataclass(frozen=True)
class Greedy(Method):
    """Asks the system for more than there is, unless a forward is small."""

    name = "greedy"
    summary = "runs out of memory"
    tokens: int = 12
    pairs: int = 2

    def attribute(self, model, batch, request):  # type: ignore[no-untyped-def]
        if request.tokens_per_forward > self.tokens or len(batch) > self.pairs:
            torch.empty(2**60)
        run = Intervention(model, batch, request)
        return run.stacked(run.integrate([run.sites], AT_ONE))

    def cost(self, model, request):  # type: ignore[no-untyped-def]
        return Cost(5, 1)


def test_an_allocation_that_fails_halves_the_chunk_and_loses_nothing(llama: Model) -> None:
    pairs, said = repeated(llama, 3), []
    scores = Greedy().scores(llama, pairs, ("head",), chunk=Chunk(64, 32), say=said.append)["head"]
    want = load_method("attribution-patching").scores(llama, pairs, ("head",))["head"]
    torch.testing.assert_close(scores.values, want.values, atol=1e-5, rtol=0)
    assert scores.pair_ids == want.pair_ids
    assert "Memory ran out: trying again with at most 32 tokens" in said[0]
    chunk = scores.provenance["chunk"]
    assert chunk["tokens"] <= 12
    assert chunk["pairs"] <= 2
    assert len(said) < 6, "the smaller chunk stays"


def test_batches_that_wait_shrink_with_the_chunk(llama: Model) -> None:
    said: list[str] = []
    scores = Greedy(tokens=10**9, pairs=8).scores(llama, repeated(llama, 16), chunk=Chunk(512, 16), say=said.append)
    assert len(said) == 1
    assert scores["head"].provenance["chunk"] == {"tokens": 256, "pairs": 8, "rows": 256}


def test_where_one_prompt_is_too_much_the_error_says_so(llama: Model) -> None:
    with pytest.raises(BenchmarkError, match="Memory ran out on a single prompt of 5 tokens"):
        Greedy(tokens=0).scores(llama, tiny_pairs(llama), ("head",), say=lambda message: None)


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    def fails() -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        within_memory(fails)
