"""The words of the command line. Imports nothing heavy, so that `--help` is quick."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from benchmark.components import (
    BASELINES,
    COUNTERFACTUAL,
    DEFAULT_KINDS,
    DIRECTIONS,
    DRAWS,
    DTYPES,
    KINDS,
    MATMULS,
    PLACES_ONLY,
    REPLACEMENTS,
    WAYS,
)
from benchmark.errors import did_you_mean
from benchmark.faithfulness import CIRCUIT_DRAWS
from benchmark.models.catalogue import DEFAULT, DEFAULT_PAIRS
from benchmark.running import PART_SECONDS

USER_ERROR = 2
BASELINE_PAIRS, LITMUS_PAIRS, PATH_PAIRS = 64, 8, 16
INTERACTION_PAIRS, INTERACTION_TOP = 16, 20
_SEVERAL = "with commas, or by giving the option several times"
Command = Callable[[argparse.Namespace], int]


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


class _AddUp(argparse.Action):
    """A list option: the first use takes the place of the default, each further one adds what it names beside."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        named = getattr(namespace, self.dest)
        before = () if named is self.default else named
        setattr(namespace, self.dest, (*before, *(value for value in values if value not in before)))


class _Parser(argparse.ArgumentParser):
    """argparse with a did-you-mean for options; `commands` are the parsers of all commands, by name."""

    commands: Mapping[str, argparse.ArgumentParser] = {}

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What a command doesn't know is an error of that command: the parser above it can't tell whose it is."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and self in self.commands.values():
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> Any:
        unknown = [word.partition("=")[0] for word in message.split() if word.startswith("--")]
        hint = self._hint(unknown[0]) if message.startswith("unrecognized") and unknown else ""
        self.exit(USER_ERROR, f"{self.prog}: {message}.{hint} See `{self.prog} --help`.\n")

    def _hint(self, word: str) -> str:
        """The closest options, or which other commands have the closest one."""
        from difflib import get_close_matches

        own, others = _options(self), {name: _options(command) for name, command in self.commands.items()}
        close = get_close_matches(word, {*own}.union(*others.values()), n=1, cutoff=0.7)
        if not close or close[0] in own:
            return did_you_mean(word, own)
        return f" {close[0]} is an option of {', '.join(name for name, of in others.items() if close[0] in of)}."


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in parser._actions for option in action.option_strings]


def parser(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """The parser; each command's function is `command` in what it parses."""
    made = _Parser(
        prog="attribution-bench", description="Benchmark attribution methods on transformer language models."
    )
    made.add_argument("--version", action="version", version=f"%(prog)s {version('attribution-bench')}")
    known = made.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    made.commands = known.choices

    def command(name: str, text: str) -> argparse.ArgumentParser:
        added: _Parser = known.add_parser(name, help=text, description=text)
        added.commands = known.choices
        added.set_defaults(command=commands[name])
        added.add_argument("--debug", action="store_true", help="show tracebacks")
        added.add_argument("--plugin", action="append", dest="plugins", default=[], metavar="FILE",
                           help="a Python file with a task or a method; may be given several times")  # fmt: skip
        return added

    def model_options(added: argparse.ArgumentParser, several: bool = False) -> None:
        text = "built-in name, local folder or Hugging Face id"
        if several:
            text += f"; several {_SEVERAL} [{DEFAULT}]"
            added.add_argument("--model", type=lambda text: (text,), action=_AddUp, default=(DEFAULT,), help=text)
        else:
            added.add_argument("--model", default=DEFAULT, help=f"{text} [%(default)s]")
        added.add_argument("--revision", help="revision of a Hugging Face id")
        bos = "put a BOS before every prompt [on for GPT-2 and Pythia, else as the tokenizer does]"
        added.add_argument("--prepend-bos", action=argparse.BooleanOptionalAction, help=bos)
        text = f"number format of the model: {', '.join(DTYPES)} [%(default)s]"
        added.add_argument("--dtype", choices=DTYPES, default=DTYPES[0], help=text)
        text = "products of float32 numbers: ieee, or tf32 on an NVIDIA GPU, rounded and faster [%(default)s]"
        added.add_argument("--matmul", choices=MATMULS, default=MATMULS[0], help=text)

    def task_options(added: argparse.ArgumentParser) -> None:
        text = f"names, {_SEVERAL} [all]"
        added.add_argument("--tasks", "--task", type=_names, action=_AddUp, default=("all",), help=text)

    def report_options(added: argparse.ArgumentParser) -> None:
        text = "how many components are a top [a twentieth, at least 5]"
        added.add_argument("--top-k", type=int, metavar="K", help=text)

    def sample_options(added: argparse.ArgumentParser, kinds: tuple[str, ...], pairs: int) -> None:
        put = added.add_argument
        text = f"{', '.join(kind for kind in KINDS if kind not in PLACES_ONLY)}, or several [{','.join(kinds)}]"
        put("--components", type=_names, action=_AddUp, default=kinds, help=text)
        text = "folder of sparse autoencoders, whose features can be scored then [the model's own, if it has some]"
        put("--dictionaries", metavar="FOLDER", help=text)
        put("--pairs", type=int, default=pairs, help="pairs a task [%(default)s]")
        put("--metric", default="default", help="default (the task's own), logit_diff, prob_diff, log_likelihood or kl")
        put("--split", default="evaluation", help="evaluation or discovery [%(default)s]")
        put("--seed", type=int, default=0, help="draws the pairs, and all that is random [%(default)s]")
        put("--min-metric", type=float, metavar="X", help="leave out pairs with a clean metric below X")
        put("--device", default="auto", help="auto, cpu, cuda, ..., or spread: over all GPUs [%(default)s]")
        put("--memory", help="how much may be used, such as 4GiB [half of what is free on the device]")

    def run_options(added: argparse.ArgumentParser, kinds: tuple[str, ...], pairs: int, out: str) -> None:
        sample_options(added, kinds, pairs)
        put = added.add_argument
        put("--out", help=f"results folder; a second run continues it [{out}]")
        put("--dry-run", action="store_true", help="show the plan and its cost, compute nothing")
        put("--force", action="store_true", help="compute stored cells again")
        text = "longer cells come in parts of about so many seconds, of which a killed run loses one [%(default)g]"
        put("--part-seconds", type=float, default=PART_SECONDS, metavar="S", help=text)
        put("--workers", type=int, metavar="N", help="processes that share the work, by Ray [this one alone]")
        text = "of a Ray cluster that shares the work: a worker a GPU, or a machine, unless --workers says how many"
        put("--ray", metavar="ADDRESS", help=text)
        report_options(added)

    def way_options(added: argparse.ArgumentParser, able: Sequence[str] = REPLACEMENTS) -> None:
        replacements, directions = (", ".join(words) for words in (able, DIRECTIONS))
        added.add_argument("--replacement", default=COUNTERFACTUAL.replacement, help=f"{replacements} [%(default)s]")
        added.add_argument("--direction", default=COUNTERFACTUAL.direction, help=f"{directions} [%(default)s]")

    def pairs_options(added: argparse.ArgumentParser) -> None:
        text = "a CSV of pairs of your own; with --task, the metric and rules of that task hold for them"
        added.add_argument("--dataset", "--pairs-file", metavar="FILE", help=text)
        added.add_argument("--title", help="what reports call the pairs of --dataset [the file's name]")
        text = "the column of --dataset that holds the corrupted prompts [corrupted]"
        added.add_argument("--corrupted-column", metavar="NAME", help=text)
        text = "whose token ids stand in --dataset; needed unless they are the model's own"
        added.add_argument("--dataset-tokenizer", metavar="MODEL", help=text)

    a = command("run", "score every component by every method on every task, and write the report")
    model_options(a, several=True)
    task_options(a)
    a.add_argument("--methods", type=_names, action=_AddUp, default=("default",),
                   help="such as integrated-gradients:path=joint, or all (`list methods`) [default]")  # fmt: skip
    way_options(a)
    text = f"prompts that a pair draws for --replacement resample [{DRAWS}]"
    a.add_argument("--draws", type=int, metavar="K", help=text)
    pairs_options(a)
    run_options(a, DEFAULT_KINDS, DEFAULT_PAIRS, "results/MODEL")
    a.add_argument("--circuits", action="store_true", help="then measure circuits of this run's scores, in its way")

    a = command("interactions", "who is a backup of whom, and who does nothing without whom?")
    model_options(a)
    task_options(a)
    a.add_argument("--top", type=int, default=INTERACTION_TOP, metavar="N",
                   help="couples among the N strongest components [%(default)s]")  # fmt: skip
    text = "the method that says which are the strongest [shapley, or attribution-patching among thousands]"
    a.add_argument("--by", metavar="METHOD", help=text)
    a.add_argument("--results", metavar="FOLDER", help="rank by the scores that `run` stored there")
    text = "effects given that these are out, such as L9H9,L10H0 [the 3 strongest]"
    a.add_argument("--given", type=_names, action=_AddUp, default=(), metavar="COMPONENTS", help=text)
    way_options(a, BASELINES)
    pairs_options(a)
    sample_options(a, ("head",), INTERACTION_PAIRS)
    a.add_argument("--out", help="where to write tables, pictures and page [interactions/MODEL]")

    a = command("circuits", "is what a method ranks first enough? Keep it alone, on pairs that were not scored")
    a.add_argument("results", help="the folder that `run` wrote")
    text = "kinds, with + between those that rank together: head,head+neuron [each, and heads with neurons]"
    a.add_argument("--components", type=_names, action=_AddUp, default=(), metavar="KINDS", help=text)
    task_options(a)
    a.add_argument("--methods", "--method", type=_names, action=_AddUp, default=("all",), help="by label or name [all]")
    text = f"what is done to the others: {', '.join(f'{d}/{r}' for d, r in WAYS)} [all of these]"
    a.add_argument("--ways", type=_names, action=_AddUp, default=(), help=text)
    a.add_argument("--pairs", type=int, help="pairs a task, of the other split [as many as were scored]")
    a.add_argument("--random", type=int, default=CIRCUIT_DRAWS, metavar="N", help="random orders [%(default)s]")
    text = "search a circuit step by step, as a reference [on up to 64 components]"
    a.add_argument("--greedy", action=argparse.BooleanOptionalAction, help=text)
    a.add_argument("--seed", type=int, default=0, help="draws what is random [%(default)s]")
    a.add_argument("--device", help="auto, cpu, cuda, ..., or spread: over all GPUs [that of the run]")
    a.add_argument("--memory", help="how much may be used, such as 4GiB [half of what is free on the device]")
    a.add_argument("--force", action="store_true", help="measure stored circuits again")
    report_options(a)

    a = command("paths", "what a head does to another's query, key or value along the direct path between them")
    model_options(a)
    a.add_argument("--task", required=True, help="a task by its name")
    text = "heads such as L0H1,L1H3; neurons L0N7, outputs L0A,L0M [all heads below the receivers]"
    a.add_argument("--senders", type=_names, action=_AddUp, default=("all",), help=text)
    text = "such as L2H0:query,L2H0:key,L2H0:value (what that head reads), L2Q0,L2K0,L2V0, or logits"
    a.add_argument("--receivers", type=_names, action=_AddUp, default=(), required=True, help=text)
    a.add_argument("--gradient", action="store_true", help="to first order, for many paths at once")
    a.add_argument("--through", choices=("mlps",), help="compute the MLPs in between again [the direct path]")
    a.add_argument("--pairs", type=int, default=PATH_PAIRS, help="pairs of the task [%(default)s]")
    a.add_argument("--metric", help="logit_diff, prob_diff, log_likelihood or kl [the task's own]")
    a.add_argument("--replacement", choices=BASELINES, default=COUNTERFACTUAL.replacement, help="[%(default)s]")
    a.add_argument("--direction", choices=DIRECTIONS, default=COUNTERFACTUAL.direction, help="[%(default)s]")
    a.add_argument("--seed", type=int, default=0, help="draws the pairs [%(default)s]")
    a.add_argument("--out", help="folder of CSV and picture [paths/TASK-MODEL]")
    a.add_argument("--device", default="auto", help="auto, cpu, cuda, ..., or spread: over all GPUs [%(default)s]")

    a = command("baselines", "do activation patching and integrated gradients agree when their baselines match?")
    model_options(a)
    task_options(a)
    a.add_argument("--steps", type=int, help="of integrated gradients [as many as its tolerance needs]")
    run_options(a, ("head",), BASELINE_PAIRS, "results/baselines-MODEL")

    a = command("litmus", "try the methods on planted models, of which it is known what matters")
    a.add_argument("litmus", nargs="*", metavar="NAME", help="such as or-gate or saturation [all]")
    text = "as for `run` [all, in all their variants]"
    a.add_argument("--methods", type=_names, action=_AddUp, default=("all",), help=text)
    run_options(a, DEFAULT_KINDS, LITMUS_PAIRS, "results/litmus")

    a = command("check", "does a method or a task do what it claims? Run it on models whose answer is known")
    a.add_argument("what", choices=("method", "task"))
    text = "a task (under --model), or a method in all its variants, or one such as integrated-gradients:steps=32"
    a.add_argument("name", metavar="NAME", help=text)
    a.add_argument(
        "--only", type=_names, action=_AddUp, default=(), metavar="CHECK", help="checks by name, with commas [all]"
    )
    model_options(a)

    a = command("report", "write the report of a results folder again, without a model")
    a.add_argument("results", help="the folder that `run` wrote")
    a.add_argument("--out", help="where to write it [RESULTS/report]")

    report_options(a)

    a = command("top", "the strongest components of a results folder, with links to the pages of features")
    a.add_argument("results", help="the folder that `run` wrote")
    a.add_argument(
        "--component", "--components", required=True, metavar="KIND", help="such as residual-feature or head"
    )
    a.add_argument("--threshold", type=float, default=0.0, metavar="X", help="only those of |mean score| X or more")
    a.add_argument("--top", type=int, metavar="N", help="at most so many of a method [30, or all beyond --threshold]")
    a.add_argument(
        "--mean-of",
        choices=("scores", "magnitudes"),
        default="scores",
        help="mean over the pairs of signed scores, or of each pair's |score| [scores]",
    )
    task_options(a)
    a.add_argument(
        "--methods",
        "--method",
        type=_names,
        action=_AddUp,
        default=("all",),
        help="by label or name [all in units of the metric]",
    )
    a.add_argument("--out", help="where to write top.csv and top.html [RESULTS/top]")

    a = command("compare", "two results folders side by side: two models, two settings, two commits")
    a.add_argument("a", metavar="A", help="a folder that `run` wrote")
    a.add_argument("b", metavar="B", help="another one")
    a.add_argument("--out", help="where to write compare.html, .md, .tex and .csv [nowhere]")
    report_options(a)

    a = command("list", "what is there: tasks, methods or models")
    a.add_argument("what", choices=("tasks", "methods", "models"))

    a = command("audit", "which rows of each dataset a model can carry, why the others drop, and what to beware of")
    model_options(a)
    task_options(a)
    pairs_options(a)
    a.add_argument("--no-model", action="store_true", help="look at tokens alone: no weights are loaded")
    a.add_argument("--verbose", action="store_true", help="name every row that drops")

    a = command("generate", "write a task's dataset file from its generator")
    task_options(a)
    a.add_argument("--out", default="datasets", help="folder to write to [%(default)s]")
    _trace_options(command("trace", "look into one pair of prompts: what matters where"), model_options)
    return made


def _heads(text: str) -> tuple[tuple[int, int], ...]:
    """`9.7,10.9` as pairs of layer and head."""
    try:
        return tuple((int(layer), int(head)) for layer, head in (one.split(".") for one in _names(text)))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write layer.head, such as 9.7,10.9") from None


def _layers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in _names(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: write layers, such as 4,5,7") from None


def _trace_options(added: argparse.ArgumentParser, model_options: Callable[[argparse.ArgumentParser], None]) -> None:
    put = added.add_argument
    put("prompt", help="the clean prompt, or a pair of a task such as ioi:ioi-0007")
    put("corrupted", nargs="?", help="the corrupted prompt; without one, look at the prompt alone or --ablate")
    model_options(added)
    put("--correct", action="append", default=[], help="an answer to the clean prompt, with its space: ' Rome'")
    put("--incorrect", action="append", default=[], help="an answer to the corrupted prompt; both may be repeated")
    put("--what", type=_names, help=f"kinds: {', '.join(KINDS)} [residual,attention,mlp,head]")
    text = "folder of sparse autoencoders, for features among --what [the model's own, if it has some]"
    put("--dictionaries", metavar="FOLDER", help=text)
    put("--neurons", type=_layers, default=(), metavar="LAYERS", help="score every neuron of these layers, such as 4,5")
    text = "kinds to be scored at each position [residual,attention,mlp]"
    put("--by-position", type=_names, metavar="KINDS", help=text)
    put("--methods", "--method", type=_names, action=_AddUp, default=("activation-patching",),
        help=f"methods side by side, {_SEVERAL} [activation-patching]")  # fmt: skip
    put("--direction", choices=DIRECTIONS, help="one direction only [both]")
    put("--ablate", type=_names, default=(), metavar="KINDS",
        help="without a corrupted prompt: replace these kinds' activations; value=published leaves the values' biases "
        "in, and takes the BOS too")  # fmt: skip
    put("--replacement", choices=REPLACEMENTS[1:], help="by what --ablate replaces them [zero]")
    put("--metric", help="logit_diff, prob_diff, log_likelihood or kl [the task's own, or logit_diff]")
    put(
        "--align", choices=("edges", "end", "start"), help="which positions are the same where prompts differ in length"
    )
    put(
        "--patterns",
        type=_heads,
        default=(),
        metavar="HEADS",
        help="attention patterns of these heads, such as 9.7,10.9",
    )
    put("--ov", type=_heads, default=(), metavar="HEADS", help="OV circuits of these heads [the two strongest]")
    put("--out", help="folder of the page [traces/NAME]")
    put("--device", default="auto", help="auto, cpu, cuda, ..., or spread: over all GPUs [%(default)s]")
