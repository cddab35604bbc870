"""Professions with a gender stereotype, for the tasks that are about pronouns."""

# Where the stereotype is documented: "crowd", raters lean this way (Bolukbasi et al. 2016); "labour", most who do this
# are women (US labour statistics; the card of gender-bias names them). Every word is one token under the vocabularies
# of GPT-2 and SmolLM2.
PROFESSIONS = {
    "discovery": {
        ("she", "crowd"): "nurse secretary educator maid therapist tutor singer aide baker psychiatrist poet",
        ("she", "labour"): "cleaner assistant psychologist translator model",
        ("he", "crowd"): "mechanic farmer soldier captain butcher doctor programmer architect physicist philosopher "
        "sailor detective coach president trader warrior",
    },
    "evaluation": {
        ("she", "crowd"): "teacher dancer clerk designer instructor planner performer artist counselor advocate",
        ("she", "labour"): "attendant tailor interpreter veterinarian writer volunteer",
        ("he", "crowd"): "officer surgeon mathematician scientist lawyer dentist commander colonel boss senator "
        "judge broker inventor inspector deputy manager",
    },
}
PRONOUNS = {"she": " she", "he": " he"}
