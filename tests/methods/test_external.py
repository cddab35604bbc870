"""Claims about scores from a file: they arrive as written, a mistake is named by its line, and nothing is made up."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from benchmark.analysis.comparisons import compared
from benchmark.cli import main
from benchmark.errors import BenchmarkError
from benchmark.running.plan import Asked, chosen_methods
from benchmark.running.plugins import discover, load_method
from benchmark.store.folder import Results, record_run
from methods.external import External
from reports.writing.captions import not_resampled
from tests.reports.test_reports import HEADS as INDEX
from tests.reports.test_reports import LAYERS, add_cell
from tests.tiny import PAIRS, tiny_model, tiny_pairs

pytestmark = pytest.mark.usefixtures("without_pictures", "loaded_once")

HEADS = "layer,index,score\n0,1,0.5\n2,3,-1.25\n"


def wrote(folder: Path, text: str, name: str = "mine.csv") -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def tiny():
    return tiny_model("llama")  # 3 layers, 4 heads, 20 neurons


def read(file: str, tiny, kinds=("head",), **options):
    return load_method("external", file=file, **options).scores(tiny, tiny_pairs(tiny), kinds)


def test_named_components_have_their_scores_and_all_others_are_unmeasured(tmp_path: Path, tiny) -> None:
    scores = read(wrote(tmp_path, HEADS), tiny)["head"]
    assert scores.values.shape == (5, 3, 4)
    assert (scores.values[:, 0, 1] == 0.5).all()
    assert (scores.values[:, 2, 3] == -1.25).all()
    assert scores.values.isnan().sum() == 5 * 10
    assert scores.design.probability.sum() == 2
    assert scores.measured[0, 1]
    assert scores.clean_metric.isfinite().all()


def test_kinds_tasks_and_pairs_are_told_apart_in_any_order_of_columns(tmp_path: Path, tiny) -> None:
    pairs = tiny_pairs(tiny)
    lines = ["score,pair,task,component,layer,index"]
    for number, pair in enumerate(reversed(pairs.ids)):
        lines += [f"{number},{pair},{pairs.task},neuron,1,19", f"-{number},{pair},{pairs.task},head,1,0"]
        lines.append(f"99,{pair},another,head,0,0")
    scores = read(wrote(tmp_path, "\n".join(lines)), tiny, ("head", "neuron"))
    assert scores["neuron"].values[:, 1, 19].tolist() == [4, 3, 2, 1, 0]
    assert scores["head"].values[:, 1, 0].tolist() == [-4, -3, -2, -1, 0]
    assert scores["head"].measured.sum() == scores["neuron"].measured.sum() == 1


def test_a_batch_and_a_chosen_order_of_pairs_get_their_own_scores(tmp_path: Path, tiny) -> None:
    pairs = tiny_pairs(tiny)
    text = "layer,index,score,pair\n" + "".join(f"0,0,{number},{pair}\n" for number, pair in enumerate(pairs.ids))
    method = load_method("external", file=wrote(tmp_path, text))
    chosen = method.scores(tiny, pairs.take([3, 0, 4]), ("head",))["head"]
    assert chosen.values[:, 0, 0].tolist() == [3, 0, 4]


@pytest.mark.parametrize("per_pair", [False, True])
def test_tensors_are_read_as_they_were_saved(tmp_path: Path, tiny, per_pair: bool) -> None:
    ids = tiny_pairs(tiny).ids
    given = {"head": torch.randn(5, 3, 4), "neuron": torch.randn(5, 3, 20, dtype=torch.float64)}
    if not per_pair:
        given = {kind: values[0].clone() for kind, values in given.items()}
    path = tmp_path / "mine.safetensors"
    save_file({kind: values.flip(0).contiguous() if per_pair else values for kind, values in given.items()}, path,
              metadata={"pair_ids": json.dumps(ids[::-1])} if per_pair else None)  # fmt: skip
    scores = read(str(path), tiny, ("head", "neuron"))
    for kind, values in given.items():
        assert torch.equal(scores[kind].values, values.float().expand(5, *values.shape[-2:]))
        assert scores[kind].measured.all()
    assert External(file=str(path)).per_pair == {"head": per_pair, "neuron": per_pair}


def test_each_kind_says_for_itself_whether_its_pairs_have_scores_of_their_own(tmp_path: Path, tiny) -> None:
    ids = tiny_pairs(tiny).ids
    given = {"head": torch.randn(5, 3, 4), "neuron": torch.randn(3, 20)}
    save_file(given, tmp_path / "mine.safetensors", metadata={"pair_ids": json.dumps(ids)})
    scores = read(str(tmp_path / "mine.safetensors"), tiny, ("head", "neuron"))
    assert External(file=str(tmp_path / "mine.safetensors")).per_pair == {"head": True, "neuron": False}
    assert torch.equal(scores["neuron"].values, given["neuron"].expand(5, 3, 20))
    assert torch.equal(scores["head"].values, given["head"])


MISTAKES = {
    "layer,index\n0,1\n": r"line 1: the column 'score' is missing",
    "layer,head,score\n0,1,2\n": r"line 1: the column 'head' is not known",
    "layer,index,scores\n0,1,2\n": r"line 1: the column 'scores' is not known. Did you mean 'score'",
    "layer,index,score,score\n0,1,2,3\n": r"line 1: the column 'score' stands there twice",
    "": r"line 1: the column 'layer' is missing",
    "layer,index,score\n": r"holds no scores",
    "layer,index,score\n0,1,0.5\n0,2\n": r"line 3: 2 cells under a header of 3",
    "layer,index,score\n0,1,0.5\n\n0,2,high\n": r"line 4: score 'high' is no number",
    "layer,index,score\n0,1,nan\n": r"line 2: score 'nan' is not finite",
    "layer,index,score\n0,1,-inf\n": r"line 2: score '-inf' is not finite",
    "layer,index,score\n0,1,3e38\n0,2,-4e38\n": r"line 3: score '-4e38' is beyond 3.4e\+38, the largest that float32",
    "layer,index,score\n0,1.0,2\n": r"line 2: index '1.0' is no whole number",
    "layer,index,score\n-1,1,2\n": r"line 2: layer '-1' is no whole number",
    "layer,index,score,component\n0,1,2,ear\n": r"line 2: component 'ear' is none of head, neuron",
    "layer,index,score,task\n0,1,2,\n": r"line 2: the column 'task' is empty",
    "layer,index,score\n0,1,2\n1,1,2\n0,1,3\n": r"line 4: head 1 of layer 0 was scored in line 2 already",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_in_a_file_is_named_by_its_line(tmp_path: Path, text: str) -> None:
    file = wrote(tmp_path, text)
    with pytest.raises(BenchmarkError, match=rf"{re.escape(file)}\b.*{MISTAKES[text]}"):
        load_method("external", file=file)


UNFIT = {
    "layer,index,score\n0,1,2\n3,0,1\n": r"line 3: there is no head 0 in layer 3; 'llama' has layers 0-2 with heads",
    "layer,index,score\n0,4,2\n": r"line 2: there is no head 4 in layer 0",
    "layer,index,score,component\n0,4,2,neuron\n": r"holds no head scores",
    "layer,index,score,task\n0,0,2,by-hand\n": r"task 'by hand', only for: by-hand \(from line 2\). Did you mean 'by-h",
    "component,layer,index,score,task\nhead,0,0,1,sva\nneuron,0,0,2,by hand\nhead,0,0,2,ioi\n": (
        r"holds no head scores for task 'by hand', only for: ioi \(from line 4\), sva \(from line 2\)\.$"
    ),
    "layer,index,score,pair\n0,0,2,nobody\n": r"no head scores for 5 of the 5 pairs, such as",
}


@pytest.mark.parametrize("text", UNFIT)
def test_scores_that_do_not_fit_the_model_the_task_or_the_pairs_are_refused(tmp_path: Path, tiny, text: str) -> None:
    with pytest.raises(BenchmarkError, match=UNFIT[text]):
        read(wrote(tmp_path, text), tiny)


def test_a_component_scored_on_some_pairs_only_is_refused(tmp_path: Path, tiny) -> None:
    ids = tiny_pairs(tiny).ids
    text = "layer,index,score,pair\n" + "".join(f"0,0,1,{pair}\n" for pair in ids) + f"1,2,1,{ids[0]}\n"
    with pytest.raises(BenchmarkError, match=f"head 2 of layer 1 for some pairs and not for '{ids[1]}'"):
        read(wrote(tmp_path, text), tiny)


TENSORS = {
    "name": ({"head.values": torch.zeros(3, 4)}, None, r"tensor 'head.values' is none of head, neuron"),
    "rank": ({"head": torch.zeros(12)}, None, r"has shape \[12\]; it must be \[layer, index\]"),
    "shape": ({"head": torch.zeros(4, 3)}, None, r"is \[4, 3\] for \[layer, index\], but 'llama' has 3 layers of 4"),
    "float32": ({"head": torch.eye(3, 4).double() * 1e39}, None, r"head\[0, 0\] is beyond 3.4e\+38"),
    "nan": ({"head": torch.full((3, 4), torch.nan)}, None, r"head\[0, 0\] is not finite"),
    "no pairs": ({"head": torch.zeros(5, 3, 4)}, None, r"the file names no pairs. Write `save_file"),
    "few pairs": ({"head": torch.zeros(5, 3, 4)}, {"pair_ids": '["a"]'}, r"has 5 pairs, and pair_ids must name each"),
    "other pairs": ({"head": torch.zeros(1, 3, 4)}, {"pair_ids": '["a"]'}, r"no head scores for 5 of the 5 pairs"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_do_not_fit_are_refused(tmp_path: Path, tiny, name: str) -> None:
    tensors, metadata, words = TENSORS[name]
    save_file(tensors, tmp_path / "mine.safetensors", metadata=metadata)
    with pytest.raises(BenchmarkError, match=words):
        read(str(tmp_path / "mine.safetensors"), tiny)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for file, words in (
        ("absent.csv", "can't be read"),
        ("scores.xlsx", "end in .csv or .safetensors"),
        (wrote(tmp_path, "no tensors", "mine.safetensors"), "can't be read"),
        ("", "external:file=scores.csv"),
    ):
        with pytest.raises(BenchmarkError, match=words):
            load_method("external", file=file)


def test_the_name_is_the_files_stem_and_the_key_follows_its_content_wherever_it_lies(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    one, same = (load_method("external", file=wrote(folder, HEADS)) for folder in (tmp_path, tmp_path / "elsewhere"))
    other = load_method("external", file=wrote(tmp_path, HEADS.replace("0.5", "0.6"), "other.csv"), signed=False)
    assert (one.label, other.label) == ("external:mine", "external:other:signed=False")
    assert one.options == same.options
    assert one.options["sha256"] == hashlib.sha256(HEADS.encode()).hexdigest() != other.options["sha256"]
    assert not other.signed
    assert one.signed


def test_all_methods_leave_it_out() -> None:
    methods, _ = chosen_methods(Asked(model="pocket"), discover())
    assert "external" not in {method.name for method in methods}


@pytest.fixture
def task(tmp_path: Path) -> str:
    pairs = [f"PromptPair({p.clean!r}, {p.corrupted!r}, {p.correct!r}, {p.incorrect!r})" for p in PAIRS]
    house = "from benchmark import PromptPair, Task, logit_diff\n"
    return wrote(
        tmp_path, f"{house}t = Task('tiny', 'Tiny', logit_diff, 'Tiny.', prompt_pairs=[{', '.join(pairs)}])\n", "t.py"
    )


def test_a_run_compares_them_and_a_changed_file_is_read_again(
    folder: Path, task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = wrote(tmp_path, "layer,index,score\n" + "".join(f"{i // 4},{i % 4},{i}\n" for i in range(12)))
    asked = ["run", "--model", str(folder), "--task", "tiny", "--plugin", task, "--out", str(tmp_path / "r")]
    asked += ["--device", "cpu", "--methods", f"activation-patching,external:file={file}"]
    assert main(asked) == 2
    assert "neuron" in capsys.readouterr().err
    asked += ["--components", "head"]
    assert main(asked) == 0
    assert "external:mine" in capsys.readouterr().out
    scores = Results(tmp_path / "r").scores("tiny", "external:mine", "head")
    assert np.array_equal(scores, np.broadcast_to(np.arange(12.0).reshape(3, 4), (5, 3, 4)))
    report = (tmp_path / "r" / "report" / "report.md").read_text()
    assert "external:mine gives every pair the same scores" in report
    wrote(tmp_path, Path(file).read_text().replace("0,0,0\n", "0,0,7\n"))
    assert main(asked) == 0
    stored = [cell for cell in Results(tmp_path / "r").cells if cell.identity[0] == "external:mine"]
    assert sorted(cell.values("head")[0, 0, 0] for cell in stored) == [0, 7]


def test_a_bad_file_stops_the_command_before_anything_is_computed(
    folder: Path, task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = wrote(tmp_path, "layer,index,score\n9,0,1\n")
    asked = ["run", "--model", str(folder), "--task", "tiny", "--plugin", task, "--out", str(tmp_path / "r")]
    assert main([*asked, "--device", "cpu", "--methods", f"external:file={file}"]) == 2
    assert f"{file}, line 2: there is no head 0 in layer 9" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_the_same_scores_for_every_pair_have_no_noise_that_resampling_could_know(tmp_path: Path) -> None:
    record_run(tmp_path, {"asked": {}, "resolved": {}})
    add_cell(tmp_path, "activation-patching", n_pairs=24)
    for name in ("a", "b"):
        one = np.random.default_rng([*name.encode()]).normal(size=(1, LAYERS, INDEX)).astype(np.float32)
        per_pair = {"head": False, "neuron": True}
        add_cell(
            tmp_path,
            "external",
            n_pairs=24,
            label=name,
            elsewhere=True,
            per_pair=per_pair,
            values=one.repeat(24, axis=0),
        )
    [part] = compared(Results(tmp_path), tested=False)
    patching, a, b = part.methods
    against, each_other = (value_of_pearson(part.between(*two)) for two in ((patching, a), (a, b)))
    assert np.isfinite([against["value"], against["low"], against["high"], against["reliability_a"]]).all()
    assert against.isna()[["reliability_b", "half_self_b", "ceiling", "disjoint", "disattenuated"]].all()
    assert np.isfinite(each_other["value"])
    assert each_other.isna()[["low", "high", "reliability_a", "reliability_b", "ceiling"]].all()
    assert not_resampled([part]).startswith("a, b gives every pair the same scores")


def value_of_pearson(rows: pd.DataFrame) -> pd.Series:
    return rows[rows.primary].iloc[0]
