"""Text to token ids and back, as the model will see them: all that the audit needs of a model, without its weights."""

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Literal

from benchmark.errors import BenchmarkError
from benchmark.prompts.dataset import PromptPair

AnswerTokens = Literal["first-token", "one-token", "continuation"]
Check = Callable[["Tokens", PromptPair], str | None]  # why a row can't be used under this tokenizer, or None
Ids = tuple[int, ...]

_NEUTRAL = ","  # no tokenizer in use merges a comma with a word or a digit that follows it
_BOS_BY_DEFAULT = ("gpt2", "gpt_neox")  # the literature's numbers on GPT-2 and Pythia have a BOS in front
_RECENT = 64  # texts whose tokens are kept: a row asks for those of its prompts several times
_WORD_MARKS = ("\u2581", "\u0120")  # how SentencePiece and byte-level tokenizers write the space before a word


class Tokens:
    """A tokenizer together with what it puts in front of a prompt, and what its model has room for.

    `prepend_bos=None` means: what the tokenizer itself puts in front, and for GPT-2 and Pythia a BOS. What a tokenizer
    puts behind a text (an EOS) is left out: prompts go on. `positions` and `vocabulary` are how many of each the model
    has, where that is known; `name` is the model's.
    """

    def __init__(
        self,
        tokenizer: Any,
        prepend_bos: bool | None = None,
        model_type: str = "",
        positions: int | None = None,
        vocabulary: int | None = None,
        name: str = "",
    ) -> None:
        self.tokenizer, self.positions, self.vocabulary, self.name = tokenizer, positions, vocabulary, name
        self._answers: dict[str, Ids] = {}
        self._recent: dict[str, Ids] = {}
        self._tails: dict[str, dict[str, Ids | None]] = {}
        bos = () if tokenizer.bos_token_id is None else (int(tokenizer.bos_token_id),)
        if prepend_bos and not bos:
            raise BenchmarkError("A BOS is to be prepended, but this tokenizer has none: use --no-prepend-bos.")
        own = () if prepend_bos is False else self._own_prefix()
        wanted = prepend_bos or (prepend_bos is None and model_type in _BOS_BY_DEFAULT)
        self.prefix: Ids = (*bos, *own) if wanted and not set(bos) & set(own) else own

    def _own_prefix(self) -> Ids:
        """The tokens that the tokenizer puts in front of any text."""
        plain, special = self._plain("a"), list(self.tokenizer("a", add_special_tokens=True)["input_ids"])
        for start in range(len(special) - len(plain) + 1):
            if special[start : start + len(plain)] == plain:
                return tuple(special[:start])
        raise BenchmarkError(
            f"This tokenizer makes {self.decode(special)!r} of 'a' with its special tokens and {self.decode(plain)!r} "
            "without: what it puts in front can't be told. Use --no-prepend-bos, or --prepend-bos."
        )

    @property
    def prepend_bos(self) -> bool:
        """Whether anything stands in front of every prompt."""
        return bool(self.prefix)

    @cached_property
    def _after_neutral(self) -> list[int]:
        return self._plain(_NEUTRAL)

    def _plain(self, text: str) -> list[int]:
        if text not in self._recent:
            if len(self._recent) == _RECENT:
                self._recent.clear()
            self._recent[text] = tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        return list(self._recent[text])

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, with the prefix in front that this model has; a text that brings it gets it once."""
        plain = self._plain(text)
        return plain if self.starts_with_prefix(plain) else [*self.prefix, *plain]

    def starts_with_prefix(self, plain: Sequence[int]) -> bool:
        return bool(self.prefix) and tuple(plain[: len(self.prefix)]) == self.prefix

    def brings_prefix(self, text: str) -> bool:
        """Whether the text itself starts with what is put in front."""
        return self.starts_with_prefix(self._plain(text))

    def chat(self, message: str, system: str = "") -> str:
        """The message in the tokenizer's own chat template, up to where the answer begins. Raises where it can't be."""
        if not getattr(self.tokenizer, "chat_template", None):
            raise BenchmarkError("the tokenizer has no chat template")
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": message})
        try:
            return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        except Exception as error:  # a template says what it doesn't take in errors of its own
            raise BenchmarkError(f"the chat template refuses it ({error})") from error

    def following(self, prompt: str, answers: Sequence[str]) -> list[Ids | None]:
        """The tokens of each answer that follow this prompt when both are tokenised together.

        None where the two join into other tokens than the prompt has by itself, or where nothing follows.
        """
        before = self._plain(prompt)
        last_word = str(re.search(r"\s?\S*\s*$", prompt)[0])  # type: ignore[index]
        for tail in (last_word, last_word.lstrip()):
            end = self._plain(tail)
            if len(answers) > 1 and end and before[-len(end) :] == end:
                found = self._after_tail(tail, answers)
                if found[:1] == self._joint(prompt, before, answers[:1]):  # the tail speaks for the whole prompt
                    return found
        return self._joint(prompt, before, answers)

    def _joint(self, prompt: str, before: list[int], answers: Sequence[str]) -> list[Ids | None]:
        joint = self.tokenizer([prompt + answer for answer in answers], add_special_tokens=False)["input_ids"]
        return [tuple(ids[len(before) :]) or None if ids[: len(before)] == before else None for ids in joint]

    def _after_tail(self, tail: str, answers: Sequence[str]) -> list[Ids | None]:
        """Of many answers to many prompts that end in the same word, found once, whichever of them are right."""
        known = self._tails.setdefault(tail, {})
        if new := [answer for answer in answers if answer not in known]:
            known.update(zip(new, self._joint(tail, self._plain(tail), new), strict=True))
        return [known[answer] for answer in answers]

    def answer(self, text: str) -> Ids:
        """Token ids of an answer by itself: `" Mary"` or, after the digits of a century, `"45"`."""
        if text not in self._answers:
            ids = self._plain(_NEUTRAL + text)
            if ids[: len(self._after_neutral)] != self._after_neutral:
                raise BenchmarkError(f"This tokenizer joins {_NEUTRAL!r} and {text!r} into one token: unsupported.")
            self._answers[text] = tuple(ids[len(self._after_neutral) :])
        return self._answers[text]

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    def word(self, token: int) -> str:
        """The text of one token, with the space that its marker stands for."""
        text, piece = self.decode([token]), str(self.tokenizer.convert_ids_to_tokens(token))
        return f" {text}" if piece.startswith(_WORD_MARKS) and not text.startswith(" ") else text

    @cached_property
    def _unknown(self) -> int | None:
        unknown = self.tokenizer.unk_token_id  # looked up in a dictionary of dictionaries each time
        return None if unknown is None else int(unknown)

    def knows(self, token: int) -> bool:
        """Whether a token id stands for text of its own rather than for anything unknown."""
        return token != self._unknown

    def knows_all(self, ids: Sequence[int]) -> bool:
        """Whether it knows every token of a text."""
        return self._unknown is None or self._unknown not in ids

    def beyond(self, ids: Sequence[int]) -> list[int]:
        """The token ids of a text for which the model has no embedding."""
        if self.vocabulary is None or max(ids, default=0) < self.vocabulary:
            return []
        return [token for token in ids if token >= self.vocabulary]
