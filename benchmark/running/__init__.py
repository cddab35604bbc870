"""From what was asked to a results folder: plugins, plan, behaviour, cells."""

PART_SECONDS = 60.0  # of work, about, that a killed run may lose
