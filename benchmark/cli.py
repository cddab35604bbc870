"""The command line, and the one file that may import everything: `attribution-bench COMMAND --help`."""

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError, did_you_mean

INTERRUPTED, USER_ERROR, CELL_FAILED = 130, 2, 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (0, 1 a cell failed, 2 wrong input, 130 interrupted)."""
    asked = _parser().parse_args(arguments)
    try:
        _quiet_libraries()
        return int(asked.command(asked))
    except (BenchmarkError, OSError) as error:
        if asked.debug:
            traceback.print_exc()
        print(f"attribution-bench: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("\nattribution-bench: interrupted; finished cells are kept, the same command continues.", file=sys.stderr)
        return INTERRUPTED


def run(asked: argparse.Namespace) -> int:
    from benchmark.plan import Asked
    from benchmark.runner import execute, prepare

    names = {field.name for field in fields(Asked)}
    given: dict[str, Any] = {name: value for name, value in vars(asked).items() if name in names}
    plan_asked = Asked(**given | {"plugins": tuple(asked.plugins)})
    out = Path(asked.out or Path("results") / Path(asked.model).name)
    plan = prepare(plan_asked, out)
    _say(_describe(plan))
    if asked.dry_run:
        return 0
    started = time.perf_counter()
    results = execute(plan, out, _say, asked.force, asked.debug)
    failures = [cell for cell in results.failures if cell.folder.name.endswith(tuple(plan.resolved()["cells"]))]
    if results.cells:
        seconds = time.perf_counter() - started
        _write_report(results, out / "report", asked.top_k)
        print(f"{len(plan.cells)} cells in {seconds:.0f} s.")
    if failures:
        _say(f"{len(failures)} of {len(plan.cells)} cells failed; --debug shows where, and so do their cell.json.")
    return CELL_FAILED if failures else 0


def report(asked: argparse.Namespace) -> int:
    from benchmark.runner import refuse_unwritable
    from benchmark.store import Results

    out = Path(asked.out or Path(asked.results) / "report")
    results = Results(asked.results)
    refuse_unwritable(out)
    _write_report(results, out, asked.top_k)
    return 0


def _write_report(results: Any, out: Path, top_k: int | None) -> None:
    """Write the report under a progress bar and print its table."""
    from tqdm import tqdm

    from benchmark.plugins import refuse_shadow

    refuse_shadow("reports")
    from reports.report import write_report
    from reports.terminal import terminal_summary

    with tqdm(desc="report", unit="part", disable=None) as bar:
        written = write_report(results, out, top_k, progress=lambda part: bar.set_postfix_str(part) or bar.update())
    print(f"{terminal_summary(results, top_k)}\n\nReport: {written}")


def show(asked: argparse.Namespace) -> int:
    if asked.what == "models":
        from benchmark.catalogue import built_in

        print(_columns(list(built_in().items())))
        print("or any local folder that save_pretrained wrote, or any Hugging Face id such as gpt2")
        return 0
    from benchmark.plugins import discover

    registry = discover(asked.plugins)
    if asked.what == "tasks":
        print(_columns([(n, f"{t.title}: {t.summary} [{t.metric.name}]") for n, t in registry.tasks.items()]))
        return 0
    rows = []
    for name, method in registry.methods.items():
        options = ", ".join(f"{f.name}={f.default}" for f in fields(method))
        rows.append((name, f"{method.summary}{f' (options: {options})' if options else ''}"))
    print(_columns(rows))
    return 0


def audit(asked: argparse.Namespace) -> int:
    from benchmark.loading import load_tokens
    from benchmark.plugins import discover

    tasks = discover(asked.plugins).chosen_tasks(asked.tasks)
    tokens = load_tokens(asked.model, asked.prepend_bos, asked.revision)
    print(f"Audit under the tokenizer of {asked.model} ({'with' if tokens.prepend_bos else 'no'} BOS)\n")
    print("| task | rows | kept | dropped |\n|---|---:|---:|---|")
    for task in tasks:
        found = task.audit(tokens)
        dropped = "; ".join(f"{count} {reason}" for reason, count in found.dropped.items()) or "-"
        print(f"| {task.name} | {found.rows} | {found.kept} | {dropped} |")
    return 0


def generate(asked: argparse.Namespace) -> int:
    from benchmark.dataset import write_csv
    from benchmark.plugins import discover
    from benchmark.runner import refuse_unwritable

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
    """The plan and its cost, a line a task."""
    model = plan.model
    lines = [
        f"{model.name}: {model.n_layers} layers x {model.n_heads} heads, {model.n_layers * model.d_mlp} neurons, "
        f"{str(model.dtype).removeprefix('torch.')} on {model.device}"
    ]
    for task_pairs in plan.tasks:
        cells = [cell for cell in plan.cells if cell.task_pairs is task_pairs]
        if task_pairs.pairs is None:
            lines.append(f"  {task_pairs.task.name}: {task_pairs.error}")
            continue
        forward, backward = (sum(cell.cost[place] for cell in cells) for place in (0, 1))
        lines.append(
            f"  {task_pairs.task.name}: {len(task_pairs.pairs)} pairs x {len(cells)} methods, "
            f"at most {forward} forward and {backward} backward passes"
        )
    lines.append(_estimate(plan))
    return "\n".join(lines)


def _estimate(plan: Any) -> str:
    """Seconds for the whole plan, from one timed forward of full size."""
    batch = next(next(p.pairs.batches()) for p in plan.tasks if p.pairs is not None)
    rows = max(1, plan.tokens_per_forward // batch.clean.shape[1])
    tokens = batch.clean[:1].expand(rows, -1)
    plan.model.activations(tokens, [])
    started = time.perf_counter()
    plan.model.activations(tokens, [])
    token_seconds = (time.perf_counter() - started) / tokens.numel()
    total = 0.0
    for cell in plan.cells:
        if (pairs := cell.task_pairs.pairs) is not None:
            length = sum(len(pair.clean) for pair in pairs.pairs) / len(pairs)
            total += cell.cost.work * length * token_seconds
    return f"  {len(plan.cells)} cells, at most about {max(1, round(total / 60))} min if none is stored yet"


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


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


class _Parser(argparse.ArgumentParser):
    """argparse with a did-you-mean for options."""

    def error(self, message: str) -> Any:
        commands = [a.choices.values() for a in self._actions if isinstance(a, argparse._SubParsersAction)]
        parsers = [self, *(parser for choices in commands for parser in choices)]
        known = [option for parser in parsers for action in parser._actions for option in action.option_strings]
        unknown = [word for word in message.split() if word.startswith("--")]
        hint = did_you_mean(unknown[0], known) if message.startswith("unrecognized") and unknown else ""
        self.exit(USER_ERROR, f"{self.prog}: {message}.{hint} See `{self.prog} --help`.\n")


def _parser() -> argparse.ArgumentParser:
    from benchmark.catalogue import DEFAULT, DEFAULT_PAIRS

    parser = _Parser(
        prog="attribution-bench", description="Benchmark attribution methods on transformer language models."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name: str, function: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=function)
        added.add_argument("--debug", action="store_true", help="show tracebacks")
        added.add_argument("--plugin", action="append", dest="plugins", default=[], metavar="FILE",
                           help="a Python file with a task or a method; may be given several times")  # fmt: skip
        return added

    def model_options(added: argparse.ArgumentParser) -> None:
        added.add_argument(
            "--model", default=DEFAULT, help="built-in name, local folder or Hugging Face id [%(default)s]"
        )
        added.add_argument("--revision", help="revision of a Hugging Face id")
        bos = "put a BOS before every prompt [on for GPT-2 and Pythia, else as the tokenizer does]"
        added.add_argument("--prepend-bos", action=argparse.BooleanOptionalAction, help=bos)

    def task_options(added: argparse.ArgumentParser) -> None:
        added.add_argument("--tasks", "--task", type=_names, default=("all",), help="names, separated by commas [all]")

    a = command("run", run, "score every component by every method on every task, and write the report")
    model_options(a)
    task_options(a)
    a.add_argument("--methods", type=_names, default=("all",),
                   help="such as activation-patching,integrated-gradients:steps=32:path=joint [all]")  # fmt: skip
    a.add_argument("--components", type=_names, default=("head",), help="head, neuron or head,neuron [head]")
    a.add_argument("--pairs", type=int, default=DEFAULT_PAIRS, help="pairs a task [%(default)s]")
    a.add_argument("--replacement", default="counterfactual", help="counterfactual, zero or mean [%(default)s]")
    a.add_argument("--direction", default="noising", help="noising or denoising [%(default)s]")
    a.add_argument("--metric", default="default", help="default (the task's own), logit_diff or prob_diff")
    a.add_argument("--split", default="evaluation", help="evaluation or discovery [%(default)s]")
    a.add_argument("--seed", type=int, default=0, help="draws the pairs, and all that is random [%(default)s]")
    a.add_argument("--min-metric", type=float, metavar="X", help="leave out pairs with a clean metric below X")
    a.add_argument("--dataset", metavar="FILE", help="a CSV of pairs in place of the task's own (with --task)")
    a.add_argument("--dataset-tokenizer", metavar="MODEL",
                   help="whose token ids stand in --dataset; needed unless they are the model's own")  # fmt: skip
    a.add_argument("--out", help="results folder; a second run continues it [results/MODEL]")
    a.add_argument("--device", default="auto", help="auto, cpu, cuda, ... [%(default)s]")
    a.add_argument("--dry-run", action="store_true", help="show the plan and its cost, compute nothing")
    a.add_argument("--force", action="store_true", help="compute stored cells again")

    a = command("report", report, "write the report of a results folder again, without a model")
    a.add_argument("results", help="the folder that `run` wrote")
    a.add_argument("--out", help="where to write it [RESULTS/report]")

    for added in commands.choices["run"], a:
        added.add_argument("--top-k", type=int, metavar="K", help="how many components are a top [1 in 20]")

    a = command("list", show, "what is there: tasks, methods or models")
    a.add_argument("what", choices=("tasks", "methods", "models"))

    a = command("audit", audit, "how many rows of each dataset a model's tokenizer can carry, and why the others drop")
    model_options(a)
    task_options(a)

    a = command("generate", generate, "write a task's dataset file from its generator")
    task_options(a)
    a.add_argument("--out", default="datasets", help="folder to write to [%(default)s]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
