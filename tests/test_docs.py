"""The guides' complete examples run as they stand, and are short."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmark.analysis.comparisons import agreement_table, compared
from benchmark.arguments import parser
from benchmark.cli import main
from benchmark.running.plugins import discover
from benchmark.store.folder import Results
from tests.tiny import PAIRS, tokenizer

pytestmark = pytest.mark.usefixtures("without_pictures", "loaded_once")

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def example(guide: str, which: int = 0) -> str:
    code: str = re.findall(r"```python\n(.*?)```", (DOCS / guide).read_text(), re.DOTALL)[which]
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 20
    return code


def tiny_task(place: Path) -> str:
    """A plugin file with the task `tiny`, for a tiny model."""
    pairs = [f"PromptPair({p.clean!r}, {p.corrupted!r}, {p.correct!r}, {p.incorrect!r})" for p in PAIRS]
    place.write_text(
        "from benchmark import PromptPair, Task, logit_diff\n"
        f"t = Task('tiny', 'Tiny', logit_diff, 'A tiny task.', prompt_pairs=[{', '.join(pairs)}])\n"
    )
    return str(place)


@pytest.mark.smollm2
@pytest.mark.usefixtures("without_report", "lent_smollm2")
def test_the_task_of_the_guide_runs_on_the_real_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "colours.py"
    plugin.write_text(example("add_a_task.md"))
    named = ["--model", "smollm2-135m", "--task", "colours", "--plugin", str(plugin)]
    assert main(["audit", *named]) == 0
    assert "| colours | 24 | 2" in capsys.readouterr().out
    asked = ["run", *named, "--pairs", "1", "--out", str(tmp_path / "r")]
    assert main([*asked, "--methods", "attribution-patching", "--device", "cpu"]) == 0
    assert Results(tmp_path / "r").scores("colours", "attribution-patching", "head").shape == (1, 30, 9)


@pytest.mark.smollm2
@pytest.mark.usefixtures("without_report", "lent_smollm2")
def test_the_pairs_of_the_guide_run_from_python_and_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [rows] = re.findall(r"```csv\n(.*?)```", (DOCS / "your_own_pairs.md").read_text(), re.DOTALL)
    (tmp_path / "capitals.csv").write_text(rows)
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(example("your_own_pairs.md"), found)
    assert capsys.readouterr().out.startswith("{} {}")
    assert len(found["pairs"]) == 2
    assert found["scores"].values.shape == (2, 30, 9)
    asked = ["run", "--model", "smollm2-135m", "--pairs-file", "capitals.csv", "--title", "Capitals"]
    assert main([*asked, "--components", "head", "--methods", "random", "--out", "r"]) == 0
    assert Results(tmp_path / "r").cells[0].task_title == "Capitals"


def test_the_method_of_the_guide_runs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin, task = tmp_path / "gradient_norm.py", tiny_task(tmp_path / "task.py")
    plugin.write_text(example("add_a_method.md"))
    asked = ["run", "--model", str(folder), "--task", "tiny", "--plugin", str(plugin), "--plugin", task]
    asked += ["--out", str(tmp_path / "r"), "--components", "neuron", "--device", "cpu"]
    assert main([*asked, "--methods", "activation-patching,attribution-patching,gradient-norm:power=0.5"]) == 0
    results = Results(tmp_path / "r")
    first_order = results.scores("tiny", "attribution-patching", "neuron")
    norm = results.scores("tiny", "gradient-norm:power=0.5", "neuron")
    assert abs(norm - abs(first_order) ** 0.5).max() < 1e-5
    assert "gradient-norm:power=0.5" in capsys.readouterr().out


def test_the_method_on_masks_passes_its_checks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(example("add_a_method.md", 1))
    asked = ["check", "method", "among-half", "--plugin", str(plugin)]
    assert main([*asked, "--only", "zero-where-nothing-changes,exact-on-linear-parallel,declared-cost"]) == 0
    assert "3 passed, 0 failed, 0 not applicable" in capsys.readouterr().out


@pytest.mark.usefixtures("without_report")
def test_the_method_that_replaces_nothing_passes_its_checks_and_runs_beside_the_others(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, task, out = tmp_path / "mine.py", tiny_task(tmp_path / "task.py"), tmp_path / "r"
    plugin.write_text(example("add_a_method.md", 2))
    assert main(["check", "method", "gradient-x-activation", "--plugin", str(plugin)]) == 0
    findings = capsys.readouterr().out
    assert "  passed          no-replacement-has-a-say" in findings
    assert "not applicable  sign-convention: no replacement has a say in its scores" in findings
    assert "0 failed" in findings
    asked = ["run", "--model", str(folder), "--task", "tiny", "--plugin", str(plugin), "--plugin", task]
    asked += ["--out", str(out), "--device", "cpu"]
    asked += ["--methods", "activation-patching,attribution-patching,gradient-x-activation"]
    for replacement in ("counterfactual", "zero"):
        assert main([*asked, "--replacement", replacement]) == 0
    results = Results(out)
    first_order = results.scores("tiny", "attribution-patching", "head", replacement="zero")
    for replacement in ("counterfactual", "zero"):
        scores = results.scores("tiny", "gradient-x-activation", "head", replacement=replacement)
        assert abs(scores - first_order).max() < 1e-6
    table = agreement_table(compared(results))
    beside = table[table.replacement_b == "counterfactual"]
    assert {"activation-patching", "attribution-patching"} <= set(
        beside[beside.method_b == "gradient-x-activation"].method_a
    )


@pytest.mark.usefixtures("without_report")
def test_the_method_that_reads_patterns_and_weights_passes_its_checks_and_runs(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, task, out = tmp_path / "mine.py", tiny_task(tmp_path / "task.py"), tmp_path / "r"
    plugin.write_text(example("add_a_method.md", 3))
    assert main(["check", "method", "looks-back", "--plugin", str(plugin)]) == 0
    assert ", 0 failed, " in capsys.readouterr().out
    asked = ["run", "--model", str(folder), "--task", "tiny", "--plugin", str(plugin), "--plugin", task]
    asked += ["--device", "cpu"]
    assert main([*asked, "--out", str(out), "--methods", "random,looks-back", "--components", "head"]) == 0
    scores = Results(out).scores("tiny", "looks-back", "head")
    hf = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    tokens = [tokenizer()(pair.clean, return_tensors="pt")["input_ids"] for pair in PAIRS]
    patterns = [torch.stack(hf(ids, output_attentions=True).attentions)[:, 0, :, -1, -1] for ids in tokens]
    outputs = torch.stack([layer.self_attn.o_proj.weight for layer in hf.model.layers])
    sizes = outputs.unflatten(2, (scores.shape[2], -1)).norm(dim=(1, 3))
    wanted = ((1 - torch.stack(patterns).mean(0)) * sizes).detach().numpy()
    assert abs(scores.mean(0) - wanted).max() < 1e-4 * wanted.max()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", *(f"docs/{path.name}" for path in DOCS.glob("*.md"))])
def test_links_and_pictures_are_there(page: str) -> None:
    text = (ROOT / page).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert all(((ROOT / page).parent / link).exists() for link in links), links
    assert "@@" not in text


def test_the_commands_of_the_readme_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores.csv").write_text("layer,index,score\n0,0,1\n")
    text = (ROOT / "README.md").read_text()
    lines = "".join(re.findall(r"```\n(.*?)```", text, re.DOTALL)).splitlines()
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("attribution-bench ")]
    assert len(commands) > 8
    commands_known = (
        "run", "trace", "baselines", "litmus", "interactions", "circuits", "paths", "check", "report", "compare", "top",
        "list", "audit", "generate",
    )  # fmt: skip
    nothing = dict.fromkeys(commands_known, lambda asked: 0)
    for words in commands:
        asked = parser(nothing).parse_args(words)
        if words[0] == "run" and asked.tasks != ("all",):
            discover().chosen_tasks(asked.tasks)
        if words[0] == "run":
            assert discover().chosen_methods(asked.methods)
