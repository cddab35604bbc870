"""One line that says what was compared."""

from benchmark.analysis.sections import Section
from benchmark.components import plural
from benchmark.store.folder import Results
from benchmark.words import counted
from reports.findings import listed

NAMED = 4  # models that the line names


def headline(results: Results, found: list[Section]) -> str:
    """Model, methods, reference, components, tasks, pairs, direction and replacement; n is the number of pairs."""
    keys = [cell.key for cell in results.all_cells]
    if not keys:
        return "No cell was computed."
    models = list(dict.fromkeys(section.model for section in found)) or list(dict.fromkeys(k.model.name for k in keys))
    named = listed(models) if len(models) <= NAMED else f"{len(models)} models"
    references = list(dict.fromkeys(key.method.label for key in keys if key.method.reference))
    methods = {key.method.label for key in keys} - {*references}
    held = f" against {listed(f'`{name}`' for name in references)}" if references else ""
    kinds = listed(plural(kind) for kind in dict.fromkeys(kind for key in keys for kind in key.kinds))
    tasks = {key.task.name for key in keys}
    sizes = sorted({section.n_pairs for section in found})
    pairs = ""
    if sizes:
        n = counted(sizes[-1], "pair") if len(sizes) == 1 else f"{sizes[0]} to {counted(sizes[-1], 'pair')}"
        pairs = f", n = {n}" + " each" * (len(tasks) > 1)
    directions = listed(dict.fromkeys(key.method.direction for key in keys))
    replacements = listed(dict.fromkeys(key.method.replacement for key in keys))
    return (
        f"{named}: {counted(len(methods), 'method')}{held} on {kinds}; {counted(len(tasks), 'task')}{pairs}; "
        f"{directions}, {replacements} replacement."
    )
