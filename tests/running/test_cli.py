"""What a person at the keyboard sees: exit codes, messages, tables. Nothing ends in a traceback."""

import gc
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from benchmark.arguments import parser
from benchmark.cli import _imports, main
from benchmark.engine.model import Model
from benchmark.models.catalogue import checkpoints, model_names
from benchmark.prompts.dataset import write_csv
from benchmark.running.work import ModelSource
from benchmark.store.folder import Results
from tests.tiny import PAIRS

pytestmark = pytest.mark.usefixtures("without_pictures", "loaded_once")

COMMANDS = (
    "run", "trace", "baselines", "litmus", "interactions", "circuits", "paths", "check", "report", "compare", "top",
    "list", "audit", "generate",
)  # fmt: skip
NOTHING = dict.fromkeys(COMMANDS, lambda asked: 0)
HOUSE = "from benchmark import PromptPair, Task, logit_diff\n"


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    pairs = [f"PromptPair({p.clean!r}, {p.corrupted!r}, {p.correct!r}, {p.incorrect!r})" for p in PAIRS]
    path = tmp_path / "plugin.py"
    path.write_text(f"{HOUSE}t = Task('tiny', 'Tiny', logit_diff, 'A tiny task.', prompt_pairs=[{', '.join(pairs)}])\n")
    return str(path)


def words(folder: Path, plugin: str, out: Path, /, **options: str) -> list[str]:
    given = {
        "model": str(folder),
        "task": "tiny",
        "plugin": plugin,
        "out": str(out),
        "device": "cpu",
        "methods": "random",
    }
    return [
        "run",
        *(word for name, value in (given | options).items() for word in (f"--{name.replace('_', '-')}", value)),
    ]


def test_run_prints_the_table_and_where_the_report_lies(
    folder: Path, plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    methods = "activation-patching,attribution-patching"
    assert main(words(folder, plugin, out, methods=methods, components="head,neuron")) == 0
    printed = capsys.readouterr()
    assert "heads against activation-patching" in printed.out
    assert "neurons against activation-patching" in printed.out
    assert f"Report: {out / 'report' / 'report.html'}" in printed.out
    assert "accuracy" in printed.out
    text = (out / "report" / "report.md").read_text()
    assert all(
        (out / "report" / line.split("](")[1].split(")")[0]).is_file()
        for line in text.splitlines()
        if line.startswith("![")
    )
    before = (out / "report" / "report.md").read_bytes()
    assert main(["report", str(out)]) == 0
    assert (out / "report" / "report.md").read_bytes() == before


@pytest.mark.usefixtures("without_report")
def test_several_models_share_a_folder(plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "r"
    asked = ["run", "--model", "pocket@step-0,pocket", "--task", "ioi", "--pairs", "3", "--out", str(out)]
    assert main([*asked, "--methods", "activation-patching,random", "--device", "cpu"]) == 0
    assert {cell.model for cell in Results(out).cells} == {"pocket@step-0", "pocket"}
    assert "4 cells in" in capsys.readouterr().out
    assert main(["run", "--model", ","]) == 2
    assert "--model names no model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([], ("all",)),
        (["--tasks", "ioi,sva"], ("ioi", "sva")),
        (["--tasks", "ioi,sva", "--task", "hypernymy"], ("ioi", "sva", "hypernymy")),
        (["--tasks", "ioi,sva", "--tasks", "sva,hypernymy"], ("ioi", "sva", "hypernymy")),
    ],
)
def test_a_list_option_given_twice_adds_up(given: list[str], found: tuple[str, ...]) -> None:
    assert parser(NOTHING).parse_args(["run", *given]).tasks == found


@pytest.mark.parametrize(
    ("words", "name", "found"),
    [
        (["run", "--methods", "random", "--methods", "random,external:file=a.csv"], "methods",
         ("random", "external:file=a.csv")),
        (["run", "--components", "neuron", "--components", "head"], "components", ("neuron", "head")),
        (["litmus", "--methods", "random", "--methods", "activation-patching"], "methods",
         ("random", "activation-patching")),
        (["check", "task", "ioi", "--only", "a", "--only", "b"], "only", ("a", "b")),
        (["run", "--model", "pocket,gpt2", "--model", "./mine"], "model", ("pocket,gpt2", "./mine")),
        (["audit", "--model", "gpt2"], "model", "gpt2"),
    ],
)  # fmt: skip
def test_so_do_the_others(words: list[str], name: str, found: object) -> None:
    assert getattr(parser(NOTHING).parse_args(words), name) == found


def test_models_are_named_by_commas_or_one_by_one_and_each_is_run_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "llama,tiny").mkdir()
    assert model_names("pocket, gpt2") == ["pocket", "gpt2"]
    assert model_names("pocket,gpt2", "pocket", "./mine") == ["pocket", "gpt2", "./mine"]
    assert model_names("llama,tiny", "./llama,tiny", str(tmp_path / "llama,tiny"), "llama,big") == [
        "llama,tiny", "./llama,tiny", str(tmp_path / "llama,tiny"), "llama", "big",
    ]  # fmt: skip
    assert model_names("pocket@all", "pocket@step-0") == checkpoints()


@pytest.mark.usefixtures("without_report")
def test_a_model_folder_with_a_comma_runs(folder: Path, plugin: str, tmp_path: Path) -> None:
    model = shutil.copytree(folder, tmp_path / "llama,tiny")
    assert main([*words(model, plugin, tmp_path / "r", pairs="2"), "--model", str(folder)]) == 0
    assert {cell.model for cell in Results(tmp_path / "r").cells} == {"llama,tiny", folder.name}


def test_dry_run_shows_plan_and_cost_and_writes_nothing(
    folder: Path, plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r"
    methods = "activation-patching,attribution-patching"
    assert main([*words(folder, plugin, out, methods=methods, pairs="3"), "--dry-run"]) == 0
    assert "tiny: 3 pairs x 2 methods, at most 195 forward and 3 backward passes" in capsys.readouterr().err
    assert not out.exists()


def test_a_command_loads_a_model_once(
    folder: Path, plugin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    load = ModelSource.load
    monkeypatch.setattr(ModelSource, "load", lambda source: (loaded.append(source.name), load(source))[1])
    asked = ["--model", str(folder), "--task", "tiny", "--plugin", plugin, "--components", "neuron", "--dry-run"]
    assert main(["baselines", *asked, "--device", "cpu"]) == 2  # its rows have no discovery split for means
    assert loaded == [str(folder)]
    assert main(["litmus", "saturation", "or-gate", "--dry-run"]) == 0
    assert loaded[1:] == ["litmus/saturation", "litmus/or-gate"]


def test_the_plans_cost_is_estimated_from_no_more_than_it_has_to_do(
    folder: Path, plugin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    unwatched = Model.run

    def watched(self: Model, tokens: torch.Tensor, *others: object, **options: object) -> object:
        rows.append(len(tokens))
        return unwatched(self, tokens, *others, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "run", watched)
    for method, most in (("random", 10), ("activation-patching:neurons=0", 10**4)):
        rows.clear()
        assert main([*words(folder, plugin, tmp_path / "r", methods=method, pairs="5"), "--dry-run"]) == 0
        assert rows[-2] == rows[-1] <= most
    assert rows[-1] > 100


BAD = {
    "unknown task": ({"task": "tinny"}, "There is no task 'tinny'. Did you mean 'tiny'?"),
    "unknown method": ({"methods": "randon"}, "There is no method 'randon'. Did you mean 'random' or"),
    "unknown option of a method": ({"methods": "integrated-gradients:step=2"}, "no option 'step'. Did you mean"),
    "a method named twice": ({"methods": "random,random"}, "names random twice"),
    "unknown component": ({"components": "heads"}, "--components heads: choose from head, neuron"),
    "unknown replacement": ({"replacement": "noise"}, "can't do replacement 'noise'; it can do counterfactual, zero"),
    "unknown direction": ({"direction": "sideways"}, "can't do direction 'sideways'"),
    "unknown metric": ({"metric": "loss"}, "There is no metric 'loss'; choose default, logit_diff, prob_diff"),
    "unknown split": ({"split": "test"}, "split is 'test'; choose discovery or evaluation"),
    "no pairs": ({"pairs": "0"}, "--pairs 0: at least 1 pair is needed"),
    "denoising by zero": ({"direction": "denoising", "replacement": "zero"}, "Use --direction noising with 'zero'"),
    "what a method can't do": (
        {"methods": "captum-integrated-gradients", "replacement": "zero"}, "can't do replacement 'zero'",
    ),
    "input path by mean": (
        {"methods": "integrated-gradients:path=input", "replacement": "mean"}, "Choose another path",
    ),
    "mean without a discovery split": ({"replacement": "mean"}, "takes means over the discovery split"),
    "no method": ({"methods": ","}, "--methods names no method"),
    "layers out of range": (
        {"methods": "activation-patching:layers=7", "components": "neuron"}, "has layers 0-2",
    ),
    "a plugin that isn't there": ({"plugin": "nowhere.py"}, "There is no plugin file 'nowhere.py'"),
    "a model that isn't there": ({"model": "./nowhere"}, "There is no model folder './nowhere'"),
    "a device that isn't there": ({"device": "gpu"}, "Device 'gpu' can't be used"),
    "an empty split": ({"split": "discovery"}, "No discovery pair of task 'tiny' ("),
    "an output folder that can't be written": ({"out": "/dev/null/r"}, "Give another: --out FOLDER"),
    "a dataset that isn't there": ({"dataset": "nowhere.csv"}, "The dataset 'nowhere.csv' can't be read: No such"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_exits_with_2_and_says_what_to_do(
    case: str, folder: Path, plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, message = BAD[case]
    assert main(words(folder, plugin, tmp_path / "r", **options)) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("attribution-bench: ")
    assert message in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "r").exists()


@pytest.mark.usefixtures("without_report")
def test_a_dataset_with_a_missing_column_or_unequal_lengths(
    folder: Path, plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dataclasses import replace

    path = tmp_path / "own.csv"
    row = replace(PAIRS[0], id="r1", split="evaluation")
    path.write_text(write_csv([row]).replace("incorrect", "wrong"))
    assert main(words(folder, plugin, tmp_path / "r", dataset=str(path))) == 2
    assert "own.csv has no column 'incorrect'" in capsys.readouterr().err
    path.write_bytes(write_csv([row]).encode() + b"caf\xe9")
    assert main(words(folder, plugin, tmp_path / "r", dataset=str(path))) == 2
    assert "It must be a CSV file in UTF-8" in capsys.readouterr().err
    path.write_text("\ufeff" + write_csv([row]))  # as spreadsheets save it
    assert main(words(folder, plugin, tmp_path / "bom", dataset=str(path))) == 0
    path.write_text(write_csv([replace(row, corrupted="Ann gave milk to")]))
    assert main(words(folder, plugin, tmp_path / "r", dataset=str(path))) == 2
    assert "1 x clean and corrupted differ in length" in capsys.readouterr().err
    path.write_text(write_csv([row]))
    assert main(words(folder, plugin, tmp_path / "r", dataset=str(path))) == 0


@pytest.mark.smollm2
@pytest.mark.usefixtures("without_report", "lent_smollm2")
def test_a_public_file_runs_on_the_real_model(tmp_path: Path, smollm2: Model) -> None:
    mary, john = (smollm2.tokens.answer(name)[0] for name in (" Mary", " John"))
    path = tmp_path / "ioi.csv"
    prompts = [f"When Mary and John sat down{mark} John gave tea to" for mark in (",", "")]
    rows = [f'"{prompt}","{prompt.replace("John gave", "Mary gave")}",{mary},{john}' for prompt in prompts]
    path.write_text("clean,corrupted,correct_idx,incorrect_idx\n" + "\n".join(rows) + "\n")
    out = tmp_path / "r"
    asked = ["run", "--model", "smollm2-135m", "--task", "ioi", "--dataset", str(path), "--out", str(out)]
    asked += ["--dataset-tokenizer", "smollm2-135m"]
    assert main([*asked, "--methods", "attribution-patching", "--components", "head", "--device", "cpu"]) == 0
    cell = Results(out).cells[0]
    assert (cell.arrays["clean_metric"] > 1).all()
    assert (cell.arrays["corrupted_metric"] < -1).all()


def test_ids_that_are_no_starts_of_words_are_refused(
    folder: Path, plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    path = tmp_path / "ioi.csv"
    path.write_text(
        "clean,corrupted,correct_idx,incorrect_idx\n"
        f"Mary and John gave milk to,Ann and John gave milk to,{tokenizer['Mary']},{tokenizer['John']}\n"
    )
    # a word-level vocabulary has no spaces in its words, so its ids are no starts of words: said, not guessed
    assert main(words(folder, plugin, tmp_path / "r", dataset=str(path), dataset_tokenizer=str(folder))) == 2
    assert "--dataset-tokenizer MODEL" in capsys.readouterr().err


def test_a_failed_cell_exits_with_1(
    folder: Path, plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text(
        "from dataclasses import dataclass\nfrom benchmark import Cost, Method\n"
        "@dataclass(frozen=True)\nclass Broken(Method):\n    name = 'broken'\n    summary = 's'\n"
        "    def attribute(self, model, batch, request):\n        return {}\n"
        "    def cost(self, model, request):\n        return Cost(1, 0)\n"
    )
    asked = words(folder, plugin, tmp_path / "r", methods="broken,random")
    assert main([*asked, "--plugin", str(broken)]) == 1
    printed = capsys.readouterr()
    assert "Traceback" not in printed.err
    assert main([*asked, "--plugin", str(broken), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert "FAILED tiny x broken: Method 'broken' returned nothing for kind 'head'" in printed.err
    assert "1 of 2 cells failed" in printed.err
    assert "random" in printed.out


def test_lists_and_audit(folder: Path, plugin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "tasks", "--plugin", plugin]) == 0
    assert "A tiny task. [logit_diff]" in capsys.readouterr().out
    assert main(["list", "methods"]) == 0
    printed = capsys.readouterr().out
    assert "(options: steps=adaptive, path=site, rule=gauss-legendre, tolerance=0.01, nodes=1920)" in printed
    assert "[by name] (options: steps=16)" in printed
    assert main(["list", "models"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("pocket", "pocket@step-0", "smollm2-135m"))
    assert main(["audit", "--model", str(folder), "--task", "tiny", "--plugin", plugin]) == 0
    assert "| tiny | 5 | 5 | - |" in capsys.readouterr().out


def test_generate_writes_what_the_repository_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--task", "ioi", "--out", str(tmp_path)]) == 0
    root = Path(__file__).parents[2]
    assert (tmp_path / "ioi.csv").read_bytes() == (root / "datasets" / "ioi.csv").read_bytes()


def test_unknown_flags_get_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", "--metods", "random"])
    assert caught.value.code == 2
    assert "--methods" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report", "generate"])
def test_other_commands_refuse_an_unwritable_folder_too(
    command: str, folder: Path, plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(folder, plugin, tmp_path / "r")) == 0
    capsys.readouterr()
    asked = ["report", str(tmp_path / "r")] if command == "report" else ["generate", "--task", "ioi"]
    assert main([*asked, "--out", "/dev/null/x"]) == 2
    assert "/dev/null is no folder" in capsys.readouterr().err


@pytest.mark.usefixtures("without_report")
def test_a_damaged_run_json_is_named(
    folder: Path, plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(folder, plugin, tmp_path / "r")) == 0
    (tmp_path / "r" / "run.json").write_text("{")
    capsys.readouterr()
    assert main(words(folder, plugin, tmp_path / "r")) == 2
    assert "run.json is damaged" in capsys.readouterr().err


def test_a_folder_without_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "is no results folder: it holds no run.json" in capsys.readouterr().err


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "/nowhere", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_garbage_is_collected_again_after_the_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    with _imports():
        meanwhile = gc.isenabled()
    assert (meanwhile, gc.isenabled()) == (False, True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            "circuits X --dry-run",
            "circuits: unrecognized arguments: --dry-run. --dry-run is an option of run, baselines, litmus.",
        ),
        ("circuits X --ranodm 3", "Did you mean '--random'"),
        ("report X --dry-rum", "--dry-run is an option of run"),
        ("report X --model-nam", "--model is an option of run"),
        ("trace a --clean", "unrecognized arguments: --clean. Did you mean"),
    ],
)
def test_an_option_of_another_command_is_said_to_be_that_commands_once(
    given: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(given.split())
    assert said in capsys.readouterr().err
