"""The runner and its results folder: resumable, bit-equal, honest about failures."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmark.cli import main
from benchmark.engine.memory import Chunk
from benchmark.errors import BenchmarkError
from benchmark.pocket.facts import TASKS as POCKET_TASKS
from benchmark.running.plan import Asked
from benchmark.running.runner import execute, prepare, run
from benchmark.store.cell import Accuracy, Filter
from benchmark.store.folder import Results

PLUGIN = """
import os
import time
from dataclasses import dataclass
from benchmark import Cost, Method, PromptPair, Task, logit_diff
from methods.attribution_patching import AttributionPatching

PAIRS = [
    PromptPair("Mary and John gave milk to", "Ann and John gave milk to", " Mary", " John", cluster="a"),
    PromptPair("the cat near a dog", "the bird near a dog", " is", " are", cluster="b"),
    PromptPair("John likes the fish and", "John sees the fish and", " Mary", " Tom", cluster="c"),
    PromptPair("the dog likes a fish", "the cat likes a fish", " is", " are", split="discovery"),
]
one = Task(name="one", title="One", metric=logit_diff, summary="s", prompt_pairs=PAIRS)
two = Task(name="two", title="Two", metric=logit_diff, summary="s", prompt_pairs=PAIRS[:2] + PAIRS[3:])
empty = Task(name="empty", title="Empty", metric=logit_diff, summary="s", prompt_pairs=[PAIRS[3]])


@dataclass(frozen=True)
class Slow(AttributionPatching):
    name = "slow"

    def attribute(self, model, batch, request):
        time.sleep(float(os.environ.get("SLOW", 0)))
        return super().attribute(model, batch, request)


@dataclass(frozen=True)
class Broken(Method):
    name = "broken"
    summary = "fails"

    def attribute(self, model, batch, request):
        raise ZeroDivisionError("on purpose")

    def cost(self, model, request):
        return Cost(1, 0)
"""
METHODS = ("activation-patching", "attribution-patching", "slow", "random")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("plugin") / "plugin.py"
    path.write_text(PLUGIN)
    return str(path)


@pytest.fixture
def options(folder: Path, plugin: str, loaded_once: None) -> dict[str, object]:
    return {"model": str(folder), "tasks": ("one", "two"), "methods": METHODS, "plugins": (plugin,), "device": "cpu"}


def command(folder: Path, plugin: str, out: Path, *more: str) -> list[str]:
    return [
        "run", "--model", str(folder), "--tasks", "one,two", "--plugin", plugin, "--methods", ",".join(METHODS),
        "--out", str(out), "--device", "cpu", *more,
    ]  # fmt: skip


def _in_a_process(words: list[str], said: Path) -> NoReturn:
    """The command as a shell starts it, where SIGINT interrupts; what it says to stderr goes to the file."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["SLOW"] = "0.3"
    with said.open("w") as sys.stderr:
        sys.exit(main(words))


@contextmanager
def started(words: list[str], said: Path, cells: int) -> Iterator[BaseProcess]:
    """The command in a process of its own, once it has stored so many cells. Forked: it needn't load all libraries."""
    process = multiprocessing.get_context("fork").Process(target=_in_a_process, args=(words, said))
    process.start()
    out, deadline = Path(words[words.index("--out") + 1]), time.monotonic() + 120
    while len(times(out)) < cells and time.monotonic() < deadline and process.is_alive():
        time.sleep(0.01)
    yield process
    process.join()


def arrays(out: Path) -> dict[str, bytes]:
    files = sorted(out.glob("cells/*/*/*/scores.safetensors"))
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def times(out: Path) -> dict[str, int]:
    return {str(file.relative_to(out)): file.stat().st_mtime_ns for file in out.glob("cells/*/*/*/cell.json")}


def test_a_run_stores_every_cell_with_scores_that_the_method_gives(options: dict, tmp_path: Path) -> None:
    results = run(out=tmp_path / "r", **options)
    assert len(results.cells) == 2 * len(METHODS)
    plan = prepare(Asked(**options), tmp_path / "r")
    cell = next(c for c in plan.cells if c.key.task.name == "one" and c.method.name == "activation-patching")
    want = cell.method.scores(plan.model, cell.behaviour.pairs, chunk=plan.chunk)["head"]
    got = results.scores("one", "activation-patching", "head")
    np.testing.assert_array_equal(got, want.values.numpy())
    stored = next(c for c in results.cells if c.task == "one" and c.identity[0] == "activation-patching")
    assert stored.key.pair_ids == want.pair_ids
    assert [pair.cluster for pair in stored.pairs] == [p.prompt.cluster for p in cell.behaviour.pairs.pairs]
    np.testing.assert_array_equal(stored.arrays["clean_metric"], want.clean_metric.float().numpy())
    provenance = stored.provenance
    assert provenance.versions["torch"]
    known = (provenance.commit, provenance.device, provenance.seconds, provenance.passes, provenance.peak_memory_bytes)
    assert None not in known
    assert provenance.passed["model"] == options["model"]
    right = int(((want.clean_metric > 0) & (want.clean_metric > want.corrupted_metric)).sum())
    assert stored.accuracy == Accuracy(right, len(want.pair_ids))


@pytest.mark.usefixtures("without_report")
def test_killed_in_the_middle_and_run_again_nothing_is_lost_and_the_bits_are_the_same(
    folder: Path, plugin: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main(command(folder, plugin, whole)) == 0
    with started(command(folder, plugin, broken), tmp_path / "said", 2) as process:
        process.kill()
    assert process.exitcode == -signal.SIGKILL
    finished = times(broken)
    assert 2 <= len(finished) < 2 * len(METHODS)
    assert main(command(folder, plugin, broken)) == 0
    assert f"{len(finished)} of {2 * len(METHODS)} cells are stored already" in capsys.readouterr().err
    after = times(broken)
    assert all(after[name] == stamp for name, stamp in finished.items())
    assert arrays(broken) == arrays(whole)
    assert len(json.loads((broken / "run.json").read_text())["runs"]) == 1


def test_an_interrupt_keeps_finished_cells_and_exits_with_130(folder: Path, plugin: str, tmp_path: Path) -> None:
    out, said = tmp_path / "r", tmp_path / "said"
    with started(command(folder, plugin, out), said, 1) as process:
        os.kill(process.pid or 0, signal.SIGINT)
    assert process.exitcode == 130
    stderr = said.read_text()
    assert "finished cells and parts are kept" in stderr
    assert "Traceback" not in stderr
    assert 1 <= len(Results(out).cells) < 2 * len(METHODS)


def test_two_plans_in_one_folder_keep_their_cells_apart(options: dict, tmp_path: Path) -> None:
    few = run(out=tmp_path / "r", **{**options, "methods": ("random",), "pairs": 2}).cells
    first = times(tmp_path / "r")
    both = run(out=tmp_path / "r", **{**options, "methods": ("random",), "pairs": 3})
    assert len(few) == 2
    assert all(times(tmp_path / "r")[name] == stamp for name, stamp in first.items())
    assert {(cell.task, len(cell.key.pair_ids)) for cell in both.cells} == {
        ("one", 2),
        ("one", 3),
        ("two", 2),
    }
    assert len(both.runs) == 2
    with pytest.raises(BenchmarkError, match="that differ in model, pairs, metric or seed"):
        both.scores("one", "random", "head")


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"replacement": "mean"}, {"direction": "denoising"}, {"metric": "prob_diff"}, {"prepend_bos": True}],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_configuration_is_never_served_from_an_old_cell(options: dict, tmp_path: Path, change: dict) -> None:
    asked = {**options, "methods": ("attribution-patching",), "tasks": ("one",)}
    run(out=tmp_path / "r", **asked)
    assert len(run(out=tmp_path / "r", **asked, **change).cells) == 2


def test_another_tokenizer_or_an_edited_plugin_makes_new_cells(
    options: dict, tmp_path: Path, folder: Path, plugin: str
) -> None:
    """The weights are the same, the tokens or the code are not: an old cell would be a wrong answer."""
    asked = {**options, "methods": ("slow",), "tasks": ("one",)}
    run(out=tmp_path / "r", **asked)
    other = shutil.copytree(folder, tmp_path / folder.name)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["cat"], vocabulary["dog"] = vocabulary["dog"], vocabulary["cat"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert len(run(out=tmp_path / "r", **{**asked, "model": str(other)}).cells) == 2
    edited = tmp_path / "edited.py"
    edited.write_text(Path(plugin).read_text() + "\n# another version\n")
    assert len(run(out=tmp_path / "r", **{**asked, "plugins": (str(edited),)}).cells) == 3


@pytest.mark.parametrize("damage", ["truncated scores", "edited scores", "edited cell", "no scores", "half a cell"])
def test_a_damaged_cell_is_named_and_computed_again(options: dict, tmp_path: Path, damage: str) -> None:
    asked = {**options, "methods": ("random",)}
    out = tmp_path / "r"
    run(out=out, **asked)
    before = arrays(out)
    victim = sorted(out.glob("cells/*/*/*"))[0]
    scores, cell = victim / "scores.safetensors", victim / "cell.json"
    if damage == "truncated scores":
        scores.write_bytes(scores.read_bytes()[:-4])
    elif damage == "edited scores":
        scores.write_bytes(scores.read_bytes()[:-4] + b"\0\0\0\1")
    elif damage == "edited cell":
        cell.write_text(cell.read_text().replace('"right": ', '"right": 1'))
    elif damage == "no scores":
        scores.unlink()
    else:
        cell.write_text(cell.read_text()[:100])
    results = Results(out)
    assert len(results.cells) == 1
    assert victim.name in str(results.damaged[0])
    said: list[str] = []
    mended = execute(prepare(Asked(**asked), out), out, said.append)
    assert victim.name in said[0]
    assert "computed again" in said[0]
    assert not mended.damaged
    assert arrays(out) == before


HOLDER = """
import sys
from pathlib import Path
from benchmark.store.folder import alone_in

with alone_in(Path(sys.argv[1]), print):
    print("held", flush=True)
    input()
"""


def test_a_run_waits_for_another_one_that_writes_into_the_folder(options: dict, tmp_path: Path) -> None:
    out, said = tmp_path / "r", list[str]()
    plan = prepare(Asked(**options | {"methods": ("random",)}), out)
    out.mkdir()
    words = [sys.executable, "-c", HOLDER, str(out)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        def end_the_other(message: str) -> None:
            said.append(message)
            assert not (out / "run.json").exists()
            holder.communicate("\n")

        results = execute(plan, out, end_the_other)
    assert said == [f"Another run is writing into {out}; waiting for it ..."]
    assert len(results.cells) == 2
    assert execute(plan, out, said.append).cells
    assert said[1:] == [f"2 of 2 cells are stored already in {out}."]
    assert (out / ".lock" / ".gitignore").read_text() == "*\n"


def test_a_folder_that_cannot_be_locked_is_written_all_the_same(
    options: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    out, said = tmp_path / "r", list[str]()
    assert len(execute(prepare(Asked(**options | {"methods": ("random",)}), out), out, said.append).cells) == 2
    assert said == [f"{out} can't be locked (No locks available): start no other run there before this one has ended."]


def test_a_failed_cell_stops_no_other_and_is_tried_again(options: dict, tmp_path: Path, plugin: str) -> None:
    asked = {**options, "methods": ("broken", "random"), "tasks": ("one", "empty")}
    results = run(out=tmp_path / "r", **asked)
    assert [(cell.task, cell.identity[0]) for cell in results.cells] == [("one", "random")]
    errors = {(cell.task, cell.identity[0]): cell.error for cell in results.failures}
    assert errors["one", "broken"] == "ZeroDivisionError: on purpose"
    assert "No evaluation pair of task 'empty' (" in str(errors["empty", "random"])
    before = times(tmp_path / "r")
    run(out=tmp_path / "r", **asked)
    changed = [name for name, stamp in times(tmp_path / "r").items() if stamp != before[name]]
    assert len(changed) == 3


@pytest.mark.usefixtures("without_pictures")
def test_of_all_tasks_those_that_a_tokenizer_cannot_carry_are_left_out_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--methods", "random", "--components", "head", "--pairs", "1", "--device", "cpu"]
    assert main(["run", *asked, "--out", str(tmp_path)]) == 0
    why = "432 x a prompt has words unknown to the tokenizer"
    results = Results(tmp_path)
    assert [one["resolved"]["left_out"] for one in results.runs] == [{"tag-questions": why}]
    assert {cell.task for cell in results.cells} == {*POCKET_TASKS, "professions", "professions-anti"}
    said = f"  tag-questions: left out, since this model's tokenizer carries none of its rows ({why})"
    assert said in capsys.readouterr().err.splitlines()
    report = (tmp_path / "report" / "report.md").read_text()
    assert f"tag-questions (the tokenizer of pocket carries none of its rows: {why})" in report
    assert "No cell failed, none is damaged and none is missing." in report


def test_a_task_that_was_named_or_is_a_users_own_is_never_left_out(tmp_path: Path) -> None:
    named = Asked("pocket", ("tag-questions",), methods=("random",), pairs=1, device="cpu")
    with pytest.raises(BenchmarkError, match="No evaluation pair of task 'tag-questions' survives"):
        prepare(named, tmp_path)
    beside = prepare(replace(named, tasks=("ioi", "tag-questions")), tmp_path)
    assert (beside.left_out, [cell.work is None for cell in beside.cells]) == ({}, [False, True])
    (tmp_path / "mine.py").write_text(
        "from benchmark import PromptPair, Task, logit_diff\n"
        "t = Task('mine', 'M', logit_diff, 's', prompt_pairs=[PromptPair('Xyzzy is', 'Plugh is', ' a', ' b')])\n"
    )
    every = prepare(replace(named, tasks=("all",), plugins=(str(tmp_path / "mine.py"),)), tmp_path)
    assert [*every.left_out] == ["tag-questions"]
    assert [cell.key.task.name for cell in every.cells if cell.work is None] == ["mine"]


def test_force_computes_stored_cells_again(options: dict, tmp_path: Path) -> None:
    asked = {**options, "methods": ("random",)}
    run(out=tmp_path / "r", **asked)
    before, stamps = arrays(tmp_path / "r"), times(tmp_path / "r")
    execute(prepare(Asked(**asked), tmp_path / "r"), tmp_path / "r", lambda message: None, force=True)
    assert arrays(tmp_path / "r") == before
    assert all(times(tmp_path / "r")[name] != stamp for name, stamp in stamps.items())


def test_the_chunk_size_of_an_interrupted_run_is_used_again(options: dict, tmp_path: Path) -> None:
    out = tmp_path / "r"
    plan = prepare(Asked(**options), out)
    execute(replace(plan, chunk=Chunk(33, 2)), out, lambda message: None)
    assert prepare(Asked(**options), out).chunk == Chunk(33, 2)
    assert prepare(Asked(**{**options, "pairs": 1}), out).chunk == plan.chunk
    assert {cell.provenance.chunk["tokens"] for cell in Results(out).cells} == {33}


def test_the_chunk_of_another_device_is_not_used_again(options: dict, tmp_path: Path) -> None:
    plan = prepare(Asked(**options), tmp_path / "r")
    execute(replace(plan, chunk=Chunk(33, 2)), tmp_path / "r", lambda message: None)
    file = tmp_path / "r" / "run.json"
    file.write_text(file.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    assert '"cuda"' in file.read_text()
    assert prepare(Asked(**options), tmp_path / "r").chunk != Chunk(33, 2)


def test_the_memory_budget_sets_the_chunk(options: dict, tmp_path: Path) -> None:
    small = prepare(Asked(**options, memory="3MiB"), tmp_path / "r").chunk
    assert small < prepare(Asked(**options, memory="1GiB"), tmp_path / "r").chunk
    with pytest.raises(BenchmarkError, match="--memory lots: write a size such as"):
        prepare(Asked(**options, memory="lots"), tmp_path / "r")


def test_min_metric_leaves_pairs_out_and_counts_them(options: dict, tmp_path: Path) -> None:
    asked = {**options, "methods": ("random",), "tasks": ("one",)}
    everything = run(out=tmp_path / "a", **asked)
    clean = everything.cells[0].arrays["clean_metric"]
    threshold = float(np.sort(clean)[1])
    filtered = run(out=tmp_path / "b", min_metric=threshold, **asked)
    cell = filtered.cells[0]
    assert (cell.arrays["clean_metric"] >= threshold).all()
    assert cell.filter == Filter(threshold, 1)
    assert cell.accuracy == everything.cells[0].accuracy  # over all pairs, before the filter
    with pytest.raises(BenchmarkError, match=r"none of the 3 evaluation pairs of task 'one' has a metric of 1000000.0"):
        run(out=tmp_path / "c", min_metric=1e6, **asked)


def test_an_unfinished_write_is_no_cell(options: dict, tmp_path: Path) -> None:
    out = tmp_path / "r"
    run(out=out, **{**options, "methods": ("random",)})
    cell = sorted(out.glob("cells/*/*/*"))[0]
    shutil.copytree(cell, cell.with_name(f".{cell.name}.abcd1234"))
    assert len(Results(out).cells) == 2


def test_a_sample_of_neurons_is_stored_with_its_probability(options: dict, tmp_path: Path) -> None:
    asked = {**options, "methods": ("activation-patching:neurons=5:layers=1-2",), "components": ("neuron",)}
    cell = run(out=tmp_path / "r", **asked).cells[0]
    measured = ~np.isnan(cell.values("neuron")).any(0)
    assert measured.sum(1).tolist() == [0, 5, 5]
    probability = cell.probability("neuron")
    assert np.unique(probability[measured]).tolist() == [np.float32(5 / 20)]
    assert not probability[~measured].any()
    again = run(out=tmp_path / "again", **asked).cells[0]
    np.testing.assert_array_equal(cell.values("neuron"), again.values("neuron"))
    stored = load_file(cell.folder / "scores.safetensors")  # only what was measured
    assert stored["neuron.values@entries"].dtype == np.float32
    assert len(stored["neuron.values@entries"]) == measured.sum() * len(cell.key.pair_ids)


def test_a_folder_that_cannot_be_written_is_an_error_before_any_work(options: dict, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(BenchmarkError, match=r"is no folder. Give another: --out FOLDER"):
        run(out=blocked / "r", **options)
    if os.geteuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        with pytest.raises(BenchmarkError, match="may not be written to"):
            run(out=tmp_path / "r", **options)


@pytest.mark.parametrize("place", ["run.json", "cell.json"])
def test_a_folder_of_a_newer_version_is_refused_and_left_alone(options: dict, tmp_path: Path, place: str) -> None:
    from benchmark.store.cell import sha256

    asked = {**options, "methods": ("random",)}
    run(out=tmp_path / "r", **asked)
    path = next((tmp_path / "r").rglob(place))
    body = json.loads(path.read_text()) | {"schema": 99}
    body.pop("cell_sha256", None)
    path.write_text(json.dumps({**body, "cell_sha256": sha256(body)}))
    before = path.read_bytes()
    with pytest.raises(BenchmarkError, match=f"{place} has schema 99, .* a newer version"):
        run(out=tmp_path / "r", **asked)
    assert path.read_bytes() == before


SILENT = """
from dataclasses import dataclass
from benchmark import AT_ONE, Intervention, Method


@dataclass(frozen=True)
class Silent(Method):
    name = "silent"
    summary = "attribution patching that doesn't say what it takes"

    def attribute(self, model, batch, request):
        run = Intervention(model, batch, request)
        return run.stacked(run.integrate([run.sites], AT_ONE))
"""


@pytest.mark.usefixtures("without_pictures")
def test_a_method_that_declares_no_cost_is_planned_run_and_reported(
    options: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "silent.py", tmp_path / "r"
    file.write_text(SILENT)
    methods, plugins = ("silent", "attribution-patching"), (*options["plugins"], str(file))
    asked = options | {"methods": methods, "plugins": plugins, "tasks": ("one",)}
    plan = prepare(Asked(**asked), out)
    assert {cell.method.name: cell.cost for cell in plan.cells} == {"silent": None, "attribution-patching": (9, 3)}
    assert plan.cells[0].rows == 3
    assert execute(plan, out, say=lambda message: None).failures == []
    silent, declared = sorted(Results(out).cells, key=lambda cell: cell.identity, reverse=True)
    assert silent.provenance.declared_cost_per_pair is None
    assert declared.provenance.declared_cost_per_pair is not None
    np.testing.assert_array_equal(silent.values("head"), declared.values("head"))
    model, pairs = plan.model, plan.behaviours[0].pairs
    scores = plan.cells[0].method.scores(model, pairs, ("head",))["head"]  # chooses its chunk itself
    np.testing.assert_allclose(scores.values.numpy(), silent.values("head"), atol=1e-6)
    words = ["run", "--model", str(options["model"]), "--task", "one", "--methods", ",".join(methods), "--dry-run"]
    assert main([*words, *(word for one in plugins for word in ("--plugin", one)), "--device", "cpu"]) == 0
    said = capsys.readouterr().err
    assert "at most 9 forward and 3 backward passes; silent: cost not declared" in said
    assert "min, what is not declared aside, if none is stored yet" in said
    assert main(["report", str(out)]) == 0
    text = (out / "report" / "report.md").read_text()
    assert "| silent | head, neuron |" in text
    assert "- + -" not in text


@pytest.mark.usefixtures("without_pictures")
def test_kinds_beside_heads_and_neurons_are_run_and_reported(options: dict, tmp_path: Path) -> None:
    kinds = ("attention", "mlp", "key", "pattern")
    asked = options | {"methods": ("activation-patching", "attribution-patching"), "tasks": ("one",)}
    results = run(**asked, components=kinds, out=tmp_path / "r")
    plan = prepare(Asked(**asked, components=kinds), tmp_path / "r")
    model, pairs = plan.model, plan.behaviours[0].pairs
    for kind in kinds:
        stored = results.scores("one", "activation-patching", kind)
        assert stored.shape == (3, model.n_layers, model.size(kind))
        fresh = plan.cells[0].method.scores(model, pairs, (kind,))[kind].values.numpy()
        np.testing.assert_allclose(stored, fresh, atol=1e-6)
    assert main(["report", str(tmp_path / "r")]) == 0
    text = (tmp_path / "r" / "report" / "report.md").read_text()
    assert all(words in text for words in ("Attention outputs", "MLP outputs", "Keys", "Attention patterns"))
    assert "L2A" in text


def test_whether_a_model_is_right_is_for_a_metric_of_answers_to_say(tmp_path: Path) -> None:
    asked = {"model": "pocket", "tasks": ("ioi",), "methods": ("random",), "pairs": 3, "device": "cpu"}
    for metric in ("logit_diff", "kl", "log_likelihood"):
        assert prepare(Asked(**asked, metric=metric), tmp_path / "r").behaviours[0].right == 3


def test_a_residual_stream_is_refused_in_a_run_with_the_reason(options: dict, tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"carries everything.*Look at its places with `trace`"):
        run(**options, components=("head", "residual"), out=tmp_path / "r")
    with pytest.raises(BenchmarkError, match="Attention patterns can't be replaced by 'mean'"):
        run(**options, components=("pattern",), replacement="mean", out=tmp_path / "r")
