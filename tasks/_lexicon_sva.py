"""Words of the `sva` task: verbs, and nouns whose singular and plural are one token in common vocabularies."""

Nouns = tuple[tuple[str, str], ...]  # singular and plural


def _pairs(text: str) -> Nouns:
    """`"fox/foxes owl"` as (("fox", "foxes"), ("owl", "owls")): a regular plural needs no spelling out."""
    split = (word.partition("/") for word in text.split())
    return tuple((singular, plural or singular + "s") for singular, _, plural in split)


# Third person singular and plural of each verb. Left out: forms that are common nouns or adjectives (works, plays,
# leaves, open, own) and verbs whose past tense is the plural form (read, put, let), as they fit either number.
VERBS: tuple[tuple[str, str], ...] = tuple(
    (f" {singular}", f" {plural}")
    for plural, singular in _pairs(
        """
        are/is were/was have/has do/does go/goes become seem appear know think believe contain include require provide
        allow create make give get bring say tell see hear enjoy prefer choose decide agree argue explain describe
        define suggest propose recommend advise inform remind teach/teaches learn understand realize recognize remember
        consider expect assume depend rely/relies consist belong exist survive grow develop evolve improve reduce expand
        extend arrive enter come follow protect prevent avoid destroy generate represent reflect/reflects indicate
        imply/implies reveal demonstrate prove confirm deny/denies admit insist accept receive earn lose succeed begin
        continue happen occur carry/carries send determine enable ensure maintain preserve resemble differ vary/varies
        involve apply/applies refer relate connect combine join write speak listen respond react behave perform operate
        employ sell possess/possesses deserve eat sing encourage inspire intend seek strive achieve attract contribute
        arise emerge derive encompass/encompasses comprise constitute incorporate integrate introduce tend entail
        illustrate depict portray explore examine investigate evaluate identify/identifies detect discover add remove
        eliminate replace promote facilitate enhance strengthen undermine threaten manage dominate govern celebrate
        emphasize assert conclude predict suffer resist oppose owe lend attach/attaches utilize
        distinguish/distinguishes satisfy/satisfies specify/specifies qualify/qualifies establish/establishes
        publish/publishes discuss/discusses consume absorb retain contend spend acknowledge correspond interact
        participate communicate engage deliver gather collect reside settle occupy/occupies impose inhibit induce
        regulate stimulate disappear
        """
    )
)

# No noun of one split stands in the other, neither as subject nor as distractor.
PEOPLE: dict[str, Nouns] = {
    "discovery": _pairs(
        """
        author teacher doctor lawyer farmer pilot singer dancer editor player coach/coaches trader soldier officer
        manager student nurse scientist engineer director
        """
    ),
    "evaluation": _pairs(
        """
        writer professor surgeon judge hunter driver actor artist poet athlete trainer investor sailor guard executive
        customer assistant researcher architect producer
        """
    ),
}
SMALL_THINGS: dict[str, Nouns] = {
    "discovery": _pairs("key book lamp bottle photo box/boxes bag chair table plate sign shirt flag"),
    "evaluation": _pairs("letter clock cup picture basket map tool desk phone knife/knives hat shelf/shelves mirror"),
}
LARGE_THINGS: dict[str, Nouns] = {
    "discovery": _pairs("window tree truck house machine tower bicycle"),
    "evaluation": _pairs("door garden car church/churches statue bridge boat"),
}
# What can be "of" somebody.
RELATIONS: dict[str, Nouns] = {
    "discovery": _pairs("friend neighbor rival cousin agent mentor supporter servant portrait photograph"),
    "evaluation": _pairs("colleague brother ally/allies opponent critic partner client follower drawing painting"),
}
