"""Text to token ids and back: all that the audit needs of a model, without its weights."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

from benchmark.errors import BenchmarkError
from benchmark.prompts.dataset import PromptPair

AnswerTokens = Literal["first-token", "one-token"]
Check = Callable[["Tokens", PromptPair], str | None]  # why a row can't be used under this tokenizer, or None
Ids = tuple[int, ...]

_NEUTRAL = ","  # no tokenizer in use merges a comma with a word or a digit that follows it
_BOS_BY_DEFAULT = ("gpt2", "gpt_neox")  # the literature's numbers on GPT-2 and Pythia have a BOS in front


class Tokens:
    """A tokenizer together with the decision whether a BOS is prepended.

    `prepend_bos=None` means: yes for GPT-2 and Pythia, elsewhere what the tokenizer itself does.
    """

    def __init__(self, tokenizer: Any, prepend_bos: bool | None = None, model_type: str = "") -> None:
        self.tokenizer = tokenizer
        self._answers: dict[str, Ids] = {}
        self._answer_sets: dict[tuple[object, ...], tuple[Ids, Ids]] = {}
        if prepend_bos is None:
            plain, special = self._plain("a"), tokenizer("a", add_special_tokens=True)["input_ids"]
            prepend_bos = model_type in _BOS_BY_DEFAULT or special[: -len(plain)] == [tokenizer.bos_token_id]
        if prepend_bos and tokenizer.bos_token_id is None:
            raise BenchmarkError("A BOS is to be prepended, but this tokenizer has none: use --no-prepend-bos.")
        self.prepend_bos = bool(prepend_bos)

    @cached_property
    def _after_neutral(self) -> list[int]:
        return self._plain(_NEUTRAL)

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, with the BOS in front where this model has one."""
        return [self.tokenizer.bos_token_id] * self.prepend_bos + self._plain(text)

    def answer(self, text: str) -> Ids:
        """Token ids of an answer as it follows a prompt: `" Mary"` or, after the digits of a century, `"45"`."""
        if text not in self._answers:
            ids = self._plain(_NEUTRAL + text)
            if ids[: len(self._after_neutral)] != self._after_neutral:
                raise BenchmarkError(f"This tokenizer joins {_NEUTRAL!r} and {text!r} into one token: unsupported.")
            self._answers[text] = tuple(ids[len(self._after_neutral) :])
        return self._answers[text]

    def answer_sets(self, right: tuple[str, ...], wrong: tuple[str, ...], which: AnswerTokens) -> tuple[Ids, Ids]:
        """First tokens of the correct and incorrect answers; a token that would stand in both stands in neither.

        `one-token` keeps only places where the i-th correct and the i-th incorrect answer are both a single token.
        """
        key = (right, wrong, which)
        if key not in self._answer_sets:
            ids = [[self.answer(text) for text in side] for side in (right, wrong)]
            if which == "one-token":
                both = [pair for pair in zip(*ids, strict=True) if all(len(form) == 1 for form in pair)]
                ids = [[pair[place] for pair in both] for place in (0, 1)]
            correct, incorrect = ([form[0] for form in side if form] for side in ids)
            shared = set(correct) & set(incorrect)
            self._answer_sets[key] = (_distinct(correct, shared), _distinct(incorrect, shared))
        return self._answer_sets[key]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def knows(self, token: int) -> bool:
        """Whether a token id stands for text of its own rather than for anything unknown."""
        return bool(token != self.tokenizer.unk_token_id)


def _distinct(ids: Sequence[int], without: set[int]) -> Ids:
    return tuple(dict.fromkeys(token for token in ids if token not in without))
