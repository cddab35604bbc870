"""Words of pocket's world that no task has: more nouns, and what people do, feel and say."""

from benchmark.pocket.facts import PEOPLE, RELATIONS, THINGS, Noun


def _nouns(kind: str, text: str) -> tuple[Noun, ...]:
    return tuple(Noun(word, word + "s", kind) for word in text.split())


# None of these stands in the agreement task, so they may take the place of its discovery nouns.
OWN_NOUNS = (
    *_nouns(
        PEOPLE,
        "king queen prince wizard giant pirate knight monk clown juggler sculptor plumber carpenter barber gardener "
        "waiter banker thief visitor stranger guest tourist baker cook shepherd runner swimmer reader speaker miner",
    ),
    *_nouns(
        THINGS,
        "pencil coin ring candle pillow blanket ladder bucket hammer shovel spoon fork kettle carpet curtain drawer "
        "wheel engine wagon ship train tunnel fountain hut cabin fence gate roof stone rock toy doll drum guitar piano",
    ),
    *_nouns(RELATIONS, "companion teammate classmate roommate helper pupil statement"),
)

FEMALE = ("woman", "girl", "lady", "mother", "queen", "princess")
MALE = ("man", "boy", "gentleman", "father", "king", "prince")
STEREOTYPE_SHARE = 0.9  # how often a profession takes the pronoun of its stereotype in pocket's world

REASONS = (
    "was tired", "was late", "was happy", "had a cold", "had no time", "felt sick", "lost a key", "saw a friend",
    "wanted to sleep", "was hungry", "heard the news", "knew the way",
)  # fmt: skip
VERB_ENDINGS = ("", "", "", " again", " today", " here", " every day", " too", " a lot")
HYPERNYM_ENDINGS = ("", "", " again", " today", " we know", " from here", " of all sizes")
COLORS = ("red", "white", "green", "blue", "black", "yellow")
