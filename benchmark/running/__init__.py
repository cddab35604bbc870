"""From what was asked to a results folder: plugins, plan, behaviour, cells."""
