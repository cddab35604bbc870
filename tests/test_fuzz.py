"""Whatever a model folder, a dataset, a plugin or a score file holds: exit code 0, 1 or 2, and a line with its name.

Some fixed mutations of each run with the suite. By hand: `FUZZ=500 pytest -n 0 tests/test_fuzz.py`, new ones each time.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from benchmark import cli
from benchmark.models.tiny import save

ODD = ('"', "'", "[", "]", "{", "}", ",", "\n", "\x00", "\ufeff", "nan", "-1", "1e999", "None", "🙂", "\t", "@x", "yes")
PAIRS_FILE = (
    "id,clean,corrupted,correct,incorrect,template,cluster,split\n"
    "a,the cat near a dog,the bird near a dog, is, are,t,c,evaluation\n"
    'b,Mary and John gave milk to,Ann and John gave milk to,"["" Mary"", "" Tom""]", John,t,d,evaluation\n'
    "c,the cat near a dog,the fish near a dog, is, are,t,e,discovery\n"
)
SCORES = "layer,index,score\n0,1,0.5\n2,3,-1.25\n"
PLUGIN = """
from dataclasses import dataclass

import torch

from benchmark import Cost, Method, PromptPair, Task, logit_diff


@dataclass(frozen=True)
class Ones(Method):
    name = "ones"
    summary = "Every score is one."
    scale: float = 1.0

    def attribute(self, model, batch, request):
        sizes = {kind: (len(batch), model.n_layers, model.size(kind)) for kind in request.kinds}
        return {kind: self.scale * torch.ones(size) for kind, size in sizes.items()}

    def cost(self, model, request):
        return Cost(0, 0)


task = Task(
    name="house",
    title="House",
    metric=logit_diff,
    summary="A cat or a bird.",
    prompt_pairs=[PromptPair("the cat near a dog", "the bird near a dog", " is", " are")],
)
"""
RUN = ["run", "--device", "cpu", "--components", "head", "--pairs", "2"]
by_hand = "FUZZ" in os.environ
some = settings(
    max_examples=int(os.environ.get("FUZZ", "25")), deadline=None, derandomize=not by_hand, database=None,
    phases=[Phase.explicit, Phase.generate, *[Phase.shrink] * by_hand],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """The text with one to three pieces taken out, put in twice, moved or replaced by something odd."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 40)))
        piece = draw(st.one_of(st.just(""), st.sampled_from(ODD), st.text(max_size=5), st.just(2 * text[start:end])))
        text = text[:start] + piece + text[end:]
    return text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_write_report", lambda *_: None)


@pytest.fixture
def carried_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Runs a command and holds it to the promise."""

    def hold(file: Path, *words: str) -> None:
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        capsys.readouterr()
        code = cli.main([*words, "--out", str(tmp_path / "out")] if words[0] == "run" else list(words))
        said = capsys.readouterr()
        assert code in (0, 1, 2)
        assert "Traceback" not in said.out + said.err
        assert "attribution-bench: unexpected" not in said.err, said.err
        if code:
            assert file.name in said.err, said.err

    return hold


@pytest.mark.usefixtures("loaded_once")
@some
@given(text=mutated(PAIRS_FILE))
def test_a_dataset(text: str, tiny: Path, tmp_path: Path, carried_out: Callable[..., None]) -> None:
    file = tmp_path / "pairs.csv"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    carried_out(file, *RUN, "--model", str(tiny), "--methods", "random", "--pairs-file", str(file))


@pytest.mark.usefixtures("loaded_once")
@some
@given(text=mutated(SCORES))
def test_a_score_file(text: str, tiny: Path, tmp_path: Path, carried_out: Callable[..., None]) -> None:
    pairs, file = tmp_path / "pairs.csv", tmp_path / "scores.csv"
    pairs.write_text(PAIRS_FILE)
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    asked = ["--model", str(tiny), "--pairs-file", str(pairs), "--methods", f"external:file={file}"]
    carried_out(file, *RUN, *asked)


@pytest.mark.usefixtures("loaded_once")
@some
@given(text=mutated(PLUGIN))
def test_a_plugin(text: str, tiny: Path, tmp_path: Path, carried_out: Callable[..., None]) -> None:
    file = tmp_path / "plugin.py"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    asked = ["--model", str(tiny), "--plugin", str(file), "--task", "house", "--methods", "ones"]
    carried_out(file, *RUN, *asked)


@some
@given(data=st.data())
def test_a_model_folder(data: st.DataObject, tiny: Path, tmp_path: Path, carried_out: Callable[..., None]) -> None:
    folder, pairs = tmp_path / "broken model", tmp_path / "pairs.csv"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(tiny, folder)
    pairs.write_text(PAIRS_FILE)
    file = folder / data.draw(st.sampled_from(sorted(path.name for path in folder.iterdir())))
    if file.suffix == ".json" and data.draw(st.booleans()):
        file.write_text(json.dumps(_changed(json.loads(file.read_text()), data)))
    elif data.draw(st.integers(0, 9)) == 0:
        file.unlink()
    else:
        body = bytearray(file.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        file.write_bytes(bytes(body[: data.draw(st.sampled_from([len(body), len(body) // 2]))]))
    asked = ["--model", str(folder), "--pairs-file", str(pairs), "--methods", "attribution-patching"]
    carried_out(folder, *RUN, *asked)


def _changed(value: Any, data: st.DataObject) -> Any:
    """A JSON value with one place in it changed or taken out."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 4)):
        key = data.draw(st.sampled_from(sorted(value)))
        if data.draw(st.integers(0, 4)) == 0:
            return {name: one for name, one in value.items() if name != key}
        return value | {key: _changed(value[key], data)}
    return data.draw(JSON)
