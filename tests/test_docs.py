"""The guides' complete examples run as they stand, and are short."""

import re
from pathlib import Path

import pytest

from benchmark.arguments import parser
from benchmark.cli import main
from benchmark.running.plugins import discover
from benchmark.store.folder import Results
from tests.tiny import PAIRS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


def example(guide: str) -> str:
    code = re.search(r"```python\n(.*?)```", (DOCS / guide).read_text(), re.DOTALL)
    assert code is not None
    lines = [line for line in code[1].splitlines() if line.strip()]
    assert len(lines) <= 20
    return code[1]


@pytest.mark.smollm2
@pytest.mark.usefixtures("without_report")
def test_the_task_of_the_guide_runs_on_the_real_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = tmp_path / "colours.py"
    plugin.write_text(example("add_a_task.md"))
    named = ["--model", "smollm2-135m", "--task", "colours", "--plugin", str(plugin)]
    assert main(["audit", *named]) == 0
    assert "| colours | 24 | 2" in capsys.readouterr().out
    asked = ["run", *named, "--pairs", "2", "--out", str(tmp_path / "r")]
    assert main([*asked, "--methods", "attribution-patching,random", "--device", "cpu"]) == 0
    assert Results(tmp_path / "r").scores("colours", "attribution-patching", "head").shape == (2, 30, 9)


def test_the_method_of_the_guide_runs(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin, task = tmp_path / "gradient_norm.py", tmp_path / "task.py"
    plugin.write_text(example("add_a_method.md"))
    pairs = [f"PromptPair({p.clean!r}, {p.corrupted!r}, {p.correct!r}, {p.incorrect!r})" for p in PAIRS]
    task.write_text(
        "from benchmark import PromptPair, Task, logit_diff\n"
        f"t = Task('tiny', 'Tiny', logit_diff, 'A tiny task.', prompt_pairs=[{', '.join(pairs)}])\n"
    )
    asked = ["run", "--model", str(folder), "--task", "tiny", "--plugin", str(plugin), "--plugin", str(task)]
    asked += ["--out", str(tmp_path / "r"), "--components", "head,neuron", "--device", "cpu"]
    assert main([*asked, "--methods", "activation-patching,attribution-patching,gradient-norm:power=0.5"]) == 0
    results = Results(tmp_path / "r")
    first_order = results.scores("tiny", "attribution-patching", "neuron")
    norm = results.scores("tiny", "gradient-norm:power=0.5", "neuron")
    assert abs(norm - abs(first_order) ** 0.5).max() < 1e-5
    assert "gradient-norm:power=0.5" in capsys.readouterr().out


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
    commands = [line.split("#")[0].split()[1:] for line in lines if line.startswith("attribution-bench ")]
    assert len(commands) > 8
    commands_known = ("run", "baselines", "litmus", "check", "report", "list", "audit", "generate")
    nothing = dict.fromkeys(commands_known, lambda asked: 0)
    for words in commands:
        asked = parser(nothing).parse_args(words)
        if words[0] == "run" and asked.tasks != ("all",):
            discover().chosen_tasks(asked.tasks)
        if words[0] == "run" and asked.methods != ("all",):
            assert [discover().method(spec) for spec in asked.methods]
