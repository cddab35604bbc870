"""A tokenizer of whole words: every name, noun, verb, country and two-digit number is one token."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from benchmark.pocket.world import World

SAMPLE = 60_000  # texts in which every word of the world turns up
SAMPLE_SEED = 1
UNKNOWN, END = "<unk>", "<|endoftext|>"  # as in GPT-2, one token both begins and ends a text
N_POSITIONS = 48


def build_tokenizer(world: World) -> Any:
    """A transformers tokenizer: digits in pairs ("1745" is "17", "45"), punctuation apart, case kept.

    Countries and capitals of several words ("New Zealand") are one token too.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    places = [place for state in world.facts.states for place in (state.capital, state.country)]
    pieces = pre_tokenizers.Split(Regex(_pattern(places)), behavior="removed", invert=True)
    answers = (answer for split in _rows(world) for answer in split)
    words: set[str] = set()
    for text in (*world.prompts(), *answers, *islice(world.texts(SAMPLE_SEED), SAMPLE)):
        words.update(piece for piece, _ in pieces.pre_tokenize_str(text))
    numbers = [f"{number:02d}" for number in range(100)]
    vocabulary = [UNKNOWN, END, *numbers, *sorted(words - set(numbers))]
    backend = Tokenizer(models.WordLevel({word: place for place, word in enumerate(vocabulary)}, unk_token=UNKNOWN))
    backend.pre_tokenizer = pieces
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token=UNKNOWN, bos_token=END, eos_token=END, model_max_length=N_POSITIONS
    )


def _rows(world: World) -> Iterable[list[str]]:
    """The answers of the capital and verb tasks' rows, each a word of its own."""
    yield [state.country for state in world.facts.states]
    yield [form for forms in world.facts.verbs for form in forms]
    yield [word for kind in world.facts.kinds for word in kind.words]


def _pattern(places: Sequence[str]) -> str:
    """A place that is no plain word ("New Zealand"), else a word with its hyphens, two digits, or a mark."""
    odd = sorted({place for place in places if not place.isalpha()}, key=lambda place: (-len(place), place))
    escaped = "|".join(place.replace(".", r"\.") for place in odd)
    return rf"(?:{escaped})(?!\w)|[^\W\d_]+(?:-[^\W\d_]+)*|\d\d|\d|[^\w\s]"
