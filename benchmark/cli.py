"""The command line, and the one file that may import everything: `attribution-bench COMMAND --help`."""

import argparse
import gc
import os
import shlex
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmark.arguments import USER_ERROR, parser
from benchmark.components import DTYPES, MATMULS
from benchmark.errors import BenchmarkError
from benchmark.models.catalogue import DEFAULT, DEFAULT_PAIRS
from benchmark.words import counted

INTERRUPTED, CELL_FAILED, CHECK_FAILED = 130, 1, 1
FEW_NEURONS = 4096  # in a model: up to here the baselines experiment patches all of them


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0, 1 a cell or a check failed, 2 wrong input, 130 interrupted)."""
    commands = {
        "run": run,
        "trace": trace,
        "paths": paths,
        "baselines": baselines,
        "litmus": litmus,
        "interactions": interactions,
        "circuits": circuits,
        "check": check,
        "report": report,
        "top": top,
        "compare": compare,
        "list": show,
        "audit": audit,
        "generate": generate,
    }
    asked = parser(commands).parse_args(arguments)
    try:
        _quiet_libraries()
        return int(asked.command(asked))
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (BenchmarkError, OSError) as error:
        if asked.debug:
            traceback.print_exc()
        print(f"attribution-bench: {error}", file=sys.stderr)
        return USER_ERROR
    except Exception as error:
        if asked.debug:
            traceback.print_exc()
        print(f"attribution-bench: {_unexpected(error, asked.plugins, arguments)}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print(
            "\nattribution-bench: interrupted; finished cells and parts are kept, the same command continues.",
            file=sys.stderr,
        )
        return INTERRUPTED


def _unexpected(error: Exception, plugins: Sequence[str], arguments: Sequence[str] | None) -> str:
    """A line for an error that nobody foresaw: in which plugin it came up, or how to report it."""
    words = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
    files = {str(Path(file).resolve()): file for file in plugins}
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    for file, line in reversed(frames):
        if file in files:
            return f"The plugin {files[file]!r} failed in line {line}: {words}. --debug shows all of it."
    command = shlex.join(sys.argv[1:] if arguments is None else arguments)
    return f"unexpected {words}. The command was: {command}. --debug shows where; please report it."


@contextmanager
def _imports() -> Iterator[None]:
    """What the libraries are made of stays to the end: looking for garbage in it takes a fifth of loading them."""
    if "torch" in sys.modules:  # by whoever called `main`, who may have garbage of their own
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def run(asked: argparse.Namespace) -> int:
    from benchmark.models.catalogue import model_names

    with _imports():
        from benchmark.running.bench import Bench

    out = Path(asked.out or Path("results") / ",".join(Path(one).name for one in asked.model))
    return _carry_out(asked, [{"model": model} for model in model_names(*asked.model)], out, Bench())


def trace(asked: argparse.Namespace) -> int:
    """Look into one pair of prompts; the work is in `benchmark.tracing`."""
    from benchmark.running.runner import refuse_unwritable
    from benchmark.tracing.command import folder_of, read_request, said, traced

    request = read_request(asked)
    out = Path(asked.out or folder_of(request))
    refuse_unwritable(out)
    found = traced(request)
    print(said(found))
    print(f"The page: {found.save(out)}")
    return 0


def paths(asked: argparse.Namespace) -> int:
    """What heads do to the queries, keys and values of others, as text, CSV and picture."""
    from benchmark.components import DENOISING
    from benchmark.engine.method import metrics
    from benchmark.models.loading import load_model
    from benchmark.prompts.metrics import metric_named
    from benchmark.running.paths import mean_effects, path_effects
    from benchmark.running.plugins import discover, refuse_shadow
    from benchmark.running.runner import refuse_unwritable

    refuse_shadow("reports")
    from reports.paths import lines, write_paths

    task = discover(asked.plugins).task(asked.task)
    metric = metric_named(asked.metric) if asked.metric else task.metric
    out = Path(asked.out or Path("paths") / f"{task.name}-{Path(asked.model).name}".replace("/", "-"))
    refuse_unwritable(out)
    options = _precision(asked) | {"prepend_bos": asked.prepend_bos, "revision": asked.revision}
    model = load_model(asked.model, device=asked.device, **options)
    pairs = task.pairs(model, asked.pairs, seed=asked.seed, metric=metric, paired=asked.replacement == "counterfactual")
    senders = "all" if asked.senders == ("all",) else asked.senders
    options = {"gradient": asked.gradient, "through": asked.through, "replacement": asked.replacement}
    effects = path_effects(model, pairs, senders, asked.receivers, direction=asked.direction, **options)
    means = mean_effects(effects, pairs)
    way = asked.direction if asked.direction == DENOISING.direction else f"noising with {asked.replacement}"
    how = ("first order, " if asked.gradient else "") + way + (", through MLPs" if asked.through else "")
    found = {name: float(values.mean()) for name, values in metrics(model, pairs).items()}
    said = ", ".join(f"{value:.4f} {name}" for name, value in found.items() if value == value)
    print(f"{task.title}, {model.name}, {counted(len(pairs), 'pair')}: {metric.name} {said}")
    print(f"Mean effects on {metric.name} ({how}):\n{lines(means)}")
    title = f"{task.title}, {model.name}: {how}"
    print(f"Numbers and picture: {write_paths(effects, means, title, metric.name, out)}")
    return 0


def baselines(asked: argparse.Namespace) -> int:
    """The baselines experiment: the same methods with every replacement, in one results folder."""
    from benchmark.components import BASELINES
    from benchmark.running.bench import Bench

    bench = Bench()
    steps = "" if asked.steps is None else f":steps={asked.steps}"
    methods = (
        f"activation-patching{_all_neurons(asked, bench)}", f"integrated-gradients{steps}", "attribution-patching",
    )  # fmt: skip
    out = Path(asked.out or Path("results") / f"baselines-{Path(asked.model).name}")
    return _carry_out(asked, [{"methods": methods, "replacement": baseline} for baseline in BASELINES], out, bench)


def litmus(asked: argparse.Namespace) -> int:
    """Every method on every planted model, in both directions and with every replacement."""
    from benchmark.running.bench import Bench
    from benchmark.running.litmus_grid import litmus_plans
    from benchmark.running.plugins import discover

    plans = litmus_plans(discover(asked.plugins), asked.litmus, asked.methods)
    if not plans:
        raise BenchmarkError(f"--methods {','.join(asked.methods)}: none of these can be tried on a planted model.")
    return _carry_out(asked, plans, Path(asked.out or Path("results") / "litmus"), Bench(), brief=True)


def interactions(asked: argparse.Namespace) -> int:
    """Couples of the strongest components, and effects while some are out; the work is in `benchmark.interactions`."""
    from benchmark.interactions.command import answered, folder_of, read_request
    from benchmark.running.bench import Bench
    from benchmark.running.plugins import refuse_shadow
    from benchmark.running.runner import refuse_unwritable

    refuse_shadow("reports")
    from reports.interactions.writing import lines, write

    question = read_request(asked)
    out = Path(asked.out or folder_of(question))
    refuse_unwritable(out)
    found = []
    for title, one in answered(question, Bench()):
        found.append((title, one))
        print(lines(title, one) + "\n")
    print(f"The page: {write(found, out)}")
    return 0


def circuits(asked: argparse.Namespace) -> int:
    """Faithfulness of what a folder's scores rank first; the work is in `benchmark.faithfulness`."""
    from benchmark.faithfulness.command import read_request
    from benchmark.faithfulness.measuring import measure
    from benchmark.running.bench import Bench
    from benchmark.store.folder import Results

    wanted = read_request(asked)
    results = measure(Results(asked.results), wanted, Bench(), _say, asked.force)
    _write_report(results, Path(asked.results) / "report", asked.top_k, results)
    return 0


def _all_neurons(asked: argparse.Namespace, bench: Any) -> str:
    """The option to patch every neuron, where they are asked for and few enough."""
    if "neuron" not in asked.components:
        return ""
    from benchmark.running.work import ModelSource

    source = ModelSource(asked.model, asked.device, asked.prepend_bos, asked.revision, None, asked.dtype, asked.matmul)
    model = bench.model(source)
    return ":neurons=0" if model.n_layers * model.d_mlp <= FEW_NEURONS else ""


def _precision(asked: argparse.Namespace) -> dict[str, Any]:
    """As `load_model` takes it."""
    from benchmark.engine.precision import dtype_named

    return {"dtype": dtype_named(asked.dtype), "matmul": asked.matmul}


def _carry_out(
    asked: argparse.Namespace, plans: Sequence[dict[str, Any]], out: Path, bench: Any, brief: bool = False
) -> int:
    """Run every plan into one results folder and write its report; each names what it asks beside `asked`.

    `bench` keeps what one plan has loaded for the next. `brief`: many small plans, which go by as one bar and aren't
    described.
    """
    from benchmark.progress import bar
    from benchmark.running.plan import Asked
    from benchmark.running.runner import crew_of, execute, prepare

    names = {field.name for field in fields(Asked)}
    given: dict[str, Any] = {name: value for name, value in vars(asked).items() if name in names}
    started = time.perf_counter()
    hashes: list[str] = []
    workers, address = (None, None) if asked.dry_run else (asked.workers, asked.ray)
    with (
        crew_of(workers, address, asked.device) as crew,
        bar(len(plans), "plans", unit="plan", quick=0.0, hidden=not brief) as shown,
    ):
        for changes in plans:
            asked_now = Asked(**given | {"plugins": tuple(asked.plugins)} | changes)
            plan = prepare(asked_now, out, bench, asked.part_seconds, force=asked.force, workplace=crew)
            if asked.dry_run or not brief:
                _say(_describe(plan))
            hashes += plan.resolved()["cells"]
            if not asked.dry_run:
                results = execute(plan, out, _say, asked.force, asked.debug, brief, crew)
            shown.advance()
    if asked.dry_run:
        return 0
    mine = results.only(hashes)
    if mine.cells and getattr(asked, "circuits", False):
        from benchmark.faithfulness.command import read_run
        from benchmark.faithfulness.measuring import measure

        try:
            wanted, told = read_run(asked, mine)
            _say(told)
            results = measure(mine, wanted, bench, _say, asked.force)
        except BenchmarkError as error:  # the scores are there, and have a report
            _say(str(error))
    seconds = time.perf_counter() - started
    if results.cells:
        _write_report(results, out / "report", asked.top_k, results.only(hashes))
        drawn = time.perf_counter() - started - seconds
        print(f"{counted(len(hashes), 'cell')} in {seconds:.0f} s, and {drawn:.0f} s for the report.")
    failures = results.only(hashes).failures
    if failures:
        _say(f"{len(failures)} of {len(hashes)} cells failed; --debug shows where, and so do their cell.json.")
    return CELL_FAILED if failures else 0


def check(asked: argparse.Namespace) -> int:
    """Hold a plugin to what it promises, a line a check."""
    with _imports():
        from tqdm import tqdm

        from benchmark import conformance
        from benchmark.models.loading import load_model
        from benchmark.progress import bar
        from benchmark.running.behaviour import behaviour
        from benchmark.running.plugins import discover

    if asked.what == "method" and (asked.model, asked.dtype, asked.matmul) != (DEFAULT, DTYPES[0], MATMULS[0]):
        raise BenchmarkError(
            "--model, --dtype and --matmul are for tasks: methods are checked on tiny and planted models. Leave "
            "them out."
        )
    registry = discover(asked.plugins)
    started = time.perf_counter()
    warned: tuple[str, ...] = ()
    if asked.what == "method":
        checks = conformance.named_checks(conformance.METHOD_CHECKS, asked.only)
        methods = conformance.methods_to_check(asked.name, registry)
        streams = {method.label: conformance.method_findings(method, checks) for method in methods}
        each = len(checks)
    else:
        promises = conformance.named_checks(conformance.TASK_CHECKS, asked.only)
        task = registry.task(asked.name)
        options = _precision(asked) | {"prepend_bos": asked.prepend_bos, "revision": asked.revision}
        model = load_model(asked.model, device="cpu", **options)
        streams, each = {task.name: conformance.task_findings(task, model, promises)}, len(promises)
        warned = behaviour(model, task, task.metric, DEFAULT_PAIRS, "evaluation", 0, "zero").caveats
    outcomes: list[str] = []
    with bar(each * len(streams), "checks", unit="check", quick=0.0, leave=False) as shown:
        for name, findings in streams.items():
            tqdm.write(name)
            for finding in findings:
                tqdm.write(f"  {finding}")
                outcomes.append(finding.outcome)
                shown.advance()
    for words in warned:
        print(f"  ! {words}")
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in ("passed", "failed", "not applicable"))
    print(f"{counts} in {time.perf_counter() - started:.0f} s.")
    return CHECK_FAILED if "failed" in outcomes else 0


def report(asked: argparse.Namespace) -> int:
    from benchmark.running.runner import refuse_unwritable
    from benchmark.store.folder import Results

    out = Path(asked.out or Path(asked.results) / "report")
    results = Results(asked.results)
    refuse_unwritable(out)
    _write_report(results, out, asked.top_k, results)
    return 0


def top(asked: argparse.Namespace) -> int:
    """The strongest components of a results folder, as text, CSV and page."""
    from benchmark.analysis.top import SHOWN, top_components
    from benchmark.components import KINDS
    from benchmark.running.plugins import refuse_shadow
    from benchmark.running.runner import refuse_unwritable
    from benchmark.store.folder import Results

    refuse_shadow("reports")
    from reports.top import lines, write_top

    if asked.component not in KINDS:
        raise BenchmarkError(f"--component {asked.component}: choose from {', '.join(KINDS)}.")
    if not asked.threshold >= 0 or (asked.top is not None and asked.top < 1):
        raise BenchmarkError("--threshold is a size and --top a count: give 0 or more, and at least 1.")
    count = asked.top if asked.top is not None or asked.threshold else SHOWN
    out = Path(asked.out or Path(asked.results) / "top")
    refuse_unwritable(out)
    results = Results(asked.results)
    found = top_components(results, asked.component, asked.threshold, count, asked.tasks, asked.methods, asked.mean_of)
    print(lines(found, asked.component))
    print(f"\nThe page: {write_top(found, asked.component, out)}")
    return 0


def compare(asked: argparse.Namespace) -> int:
    """Two results folders side by side, as text and, where asked for, as page, Markdown, LaTeX and CSV."""
    from benchmark.analysis.side_by_side import side_by_side
    from benchmark.running.plugins import refuse_shadow
    from benchmark.running.runner import refuse_unwritable
    from benchmark.store.folder import Results

    refuse_shadow("reports")
    from reports.compare.writing import lines, write

    if asked.out:
        refuse_unwritable(Path(asked.out))
    found = side_by_side(Results(asked.a), Results(asked.b), asked.top_k)
    print(lines(found))
    if asked.out:
        print(f"\nThe page: {write(found, Path(asked.out))}")
    return 0


def _write_report(results: Any, out: Path, top_k: int | None, shown: Any) -> None:
    """Write the report of all results under a progress bar, and print the table of those to be `shown`."""
    from benchmark.progress import bar
    from benchmark.running.plugins import refuse_shadow

    refuse_shadow("reports")
    from reports.baselines.section import summary
    from reports.report import write_report
    from reports.terminal import terminal_summary

    with bar(None, "report", unit="part", quick=0.0) as drawn:

        def tell(part: str) -> None:
            drawn.describe(f"report, {part}")
            drawn.advance()

        written = write_report(results, out, top_k, progress=tell)
    words = (terminal_summary(shown, top_k), summary(shown, top_k), f"Report: {written}")
    print("\n\n".join(filter(None, words)))


def show(asked: argparse.Namespace) -> int:
    if asked.what == "models":
        from benchmark.models.catalogue import built_in

        print(_columns(list(built_in().items())))
        print("litmus/NAME: a planted model, such as litmus/or-gate; `attribution-bench list tasks` names them all")
        print("or any local folder that save_pretrained wrote, or any Hugging Face id such as gpt2")
        return 0
    from benchmark.running.plugins import discover

    registry = discover(asked.plugins)
    if asked.what == "tasks":
        print(_columns([(n, f"{t.title}: {t.summary} [{t.metric.name}]") for n, t in registry.tasks.items()]))
        return 0
    rows = []
    for name, method in registry.methods.items():
        options = ", ".join(f"{f.name}={f.default}" for f in fields(method))
        also = "" if method.on_request else " or with all"
        unasked = "" if method.by_default and also else f" [by name{also}]"
        rows.append((name, f"{method.summary}{unasked}{f' (options: {options})' if options else ''}"))
    print(_columns(rows))
    return 0


def audit(asked: argparse.Namespace) -> int:
    from benchmark.models.loading import load_model, load_tokens
    from benchmark.running.audit import audit_lines
    from benchmark.running.bench import Bench
    from benchmark.running.plan import Asked

    rows = Asked(
        asked.model, asked.tasks, dataset=asked.dataset, dataset_tokenizer=asked.dataset_tokenizer,
        corrupted_column=asked.corrupted_column, title=asked.title,
    )  # fmt: skip
    rows.refuse_mixed()
    bench, plugins = Bench(), tuple(asked.plugins)
    bench.registry(plugins).chosen_tasks(asked.tasks)  # an unknown task is refused before any model is loaded
    options = {"prepend_bos": asked.prepend_bos, "revision": asked.revision}
    if asked.no_model and (asked.dtype, asked.matmul) != (DTYPES[0], MATMULS[0]):
        raise BenchmarkError("--dtype and --matmul are for weights, of which --no-model loads none. Leave them out.")
    model = None if asked.no_model else load_model(asked.model, device="auto", **_precision(asked), **options)
    tokens = model.tokens if model else load_tokens(asked.model, **options)
    for lines in audit_lines(
        bench.tasks(asked.tasks, rows.rows_of(""), plugins, tokens), asked.model, tokens, model, asked.verbose
    ):
        print(lines)
    return 0


def generate(asked: argparse.Namespace) -> int:
    from benchmark.prompts.dataset import write_csv
    from benchmark.running.plugins import discover
    from benchmark.running.runner import refuse_unwritable

    tasks = discover(asked.plugins).chosen_tasks(asked.tasks)
    refuse_unwritable(Path(asked.out))
    for task in tasks:
        if task.generate is None:
            raise BenchmarkError(f"Task {task.name!r} has no generator.")
        path = Path(asked.out) / task.dataset
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write_csv(task.generate()), encoding="utf-8")
        print(path)
    return 0


def _describe(plan: Any) -> str:
    """The plan and its cost, a line a task and a dictionary."""
    from benchmark.running.dictionaries import described

    lines = [repr(plan.model), *(f"  ! {words}" for words in plan.cautions)]
    for found in plan.behaviours:
        cells = [cell for cell in plan.cells if cell.behaviour is found]
        if found.pairs is None:
            lines.append(f"  {found.task.name}: {found.error}")
            continue
        size = f"{counted(len(found.pairs), 'pair')} x {counted(len(cells), 'method')}"
        lines.append(f"  {found.task.name}: {size}, {_cost(cells)}")
        lines += [f"    ! {words}" for words in found.caveats]
        lines += [f"    {described(one)}" for one in found.dictionaries]
    lines += [
        f"  {name}: left out, since this model's tokenizer carries none of its rows ({reasons})"
        for name, reasons in plan.left_out.items()
    ]
    lines += [f"  {label}: left out. {reason}" for label, reason in plan.unable.items()]
    lines.append(_estimate(plan))
    return "\n".join(lines)


def _cost(cells: Sequence[Any]) -> str:
    """What the cells of a task take at most, and which of their methods don't say."""
    declared = [cell.cost for cell in cells if cell.cost is not None]
    silent = ", ".join(cell.method.label for cell in cells if cell.cost is None)
    forward, backward = (sum(cost[place] for cost in declared) for place in (0, 1))
    said = f"at most {forward} forward and {backward} backward passes" if declared else ""
    return "; ".join(filter(None, (said, silent and f"{silent}: cost not declared")))


def _estimate(plan: Any) -> str:
    """Minutes for the whole plan, from one timed forward; and in what parts they come."""
    length = next(found.pairs.pairs[0] for found in plan.behaviours if found.pairs is not None).clean
    total = 0.0
    for cell in plan.cells:
        if (pairs := cell.behaviour.pairs) is not None:
            mean_length = sum(len(pair.clean) for pair in pairs.pairs) / len(pairs)
            total += cell.rows * plan.row_seconds * mean_length / len(length)
    silent = any(cell.cost is None for cell in plan.cells)
    beside = ", what is not declared aside," * silent
    steep = "; integrals that are steep take longer" * any(
        "refined" in (cell.method.quadrature or "") for cell in plan.cells
    )
    minutes = max(1, round(total / 60))
    parts = "" if plan.part_rows is None else "; the long ones come in parts"
    return (
        f"  {counted(len(plan.cells), 'cell')}, at most about {minutes} min{beside} if none is stored yet{steep}{parts}"
    )


def _columns(rows: Sequence[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _say(message: str) -> None:
    from tqdm import tqdm

    tqdm.write(message, file=sys.stderr)


def _quiet_libraries() -> None:
    """No bars and no advice from the libraries below, unless somebody watches a terminal."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


if __name__ == "__main__":
    sys.exit(main())
