"""How tasks and methods are found, and what goes wrong when they can't be."""

import hashlib
import importlib.metadata
import subprocess
import sys
import types
from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path
from typing import Literal

import pytest

from benchmark.engine.method import Method
from benchmark.errors import BenchmarkError
from benchmark.models.litmus import LITMUS
from benchmark.running.plugins import build_method, discover, load_method, load_task, plugin_digest

TASK = """
from benchmark import PromptPair, Task, logit_diff
mine = Task(name={name!r}, title="T", metric=logit_diff, summary="s", prompt_pairs=[PromptPair("a", "b", " c", " d")])
"""


def plugin(folder: Path, name: str = "mine", file: str = "plugin.py") -> Path:
    (folder / file).write_text(TASK.format(name=name))
    return folder / file


def test_the_built_in_plugins_are_found() -> None:
    registry = discover()
    tasks = {task.name for task in registry.chosen_tasks(("all",))}
    assert tasks == {
        "ioi", "gender-bias", "greater-than", "capital-country", "sva", "hypernymy", "tag-questions", "professions",
        "professions-anti",
    }  # fmt: skip
    assert set(registry.tasks) - tasks == {f"litmus/{name}" for name in LITMUS}
    assert {"activation-patching", "attribution-patching", "integrated-gradients"} <= set(registry.methods)
    assert [name for name, method in registry.methods.items() if method.reference] == ["activation-patching"]


def test_a_plugin_file_adds_to_them(tmp_path: Path) -> None:
    assert discover([plugin(tmp_path)]).task("mine").source == tmp_path / "plugin.py"


def test_a_name_taken_twice_names_both_files(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"Two tasks are named 'ioi': in .*tasks/ioi.py and in .*plugin.py"):
        discover([plugin(tmp_path, "ioi")])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "defines no Task value and no Method class"),
        ("import nowhere_at_all", "can't be imported: ModuleNotFoundError"),
        ("def broken(:", "can't be imported: SyntaxError"),
    ],
)
def test_bad_plugin_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.py").write_text(text)
    with pytest.raises(BenchmarkError, match=message):
        discover([tmp_path / "p.py"])
    with pytest.raises(BenchmarkError, match="There is no plugin file"):
        discover([tmp_path / "none.py"])
    (tmp_path / "p.txt").write_text("x")
    with pytest.raises(BenchmarkError, match="no Python file"):
        discover([tmp_path / "p.txt"])


def test_a_method_in_a_file_with_postponed_annotations_works(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom benchmark import Method\n"
        "@dataclass(frozen=True)\nclass Mine(Method):\n    name = 'mine'\n    summary = 's'\n    power: float = 1.0\n"
    )
    assert discover([tmp_path / "p.py"]).method("mine:power=2").power == 2.0


PLAIN = """
from benchmark import Method


class Shared(Method):
    power: float = 1.0


class Mine(Shared):
    name = "mine"
    summary = "no decorator"
    steps: int = 8


class Bare(Method):
    name = "bare"
    summary = "no options either"
"""


def test_a_method_class_needs_no_decorator(tmp_path: Path) -> None:
    (tmp_path / "p.py").write_text(PLAIN)
    registry = discover([tmp_path / "p.py"])
    mine = registry.method("mine:steps=3:power=0.5")
    assert mine.options == {"steps": 3, "power": 0.5}
    assert mine.label == "mine:power=0.5:steps=3"
    assert (registry.method("bare").options, registry.method("bare").label) == ({}, "bare")
    assert mine == registry.method("mine:steps=3:power=0.5") != registry.method("mine")
    with pytest.raises(FrozenInstanceError):
        mine.steps = 4


class Undecorated(Method):
    name = "undecorated"
    steps: int = 8


def test_a_class_without_a_decorator_may_be_handed_over_by_itself() -> None:
    assert build_method(Undecorated, {"steps": "3"}).options == {"steps": 3}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "    def __init__(self, steps=8):\n        self.steps = steps",
            "Method class Mine has an `__init__` of its own",
        ),
        ("    steps: list = []", "Method class Mine can't be made a frozen dataclass: mutable default"),
    ],
)
def test_a_class_that_can_be_no_dataclass_is_refused_with_the_reason(tmp_path: Path, body: str, message: str) -> None:
    (tmp_path / "p.py").write_text(f"from benchmark import Method\nclass Mine(Method):\n    name = 'mine'\n{body}\n")
    with pytest.raises(BenchmarkError, match=message):
        discover([tmp_path / "p.py"])


HELPED = """
from __future__ import annotations
from {helper} import Base, POWER

class Mine(Base):
    name = {name!r}
    summary = "has a helper"
    power: float = POWER
"""
HELPER = """
from __future__ import annotations
from typing import ClassVar, Literal
from benchmark import Method
from deeper.constants import POWER

class Base(Method):
    citation: ClassVar[str] = ""
    rule: Literal["one", "other"] = "one"
"""


def helped(folder: Path, power: float, name: str) -> Path:
    """A plugin that imports a sibling file, which imports another one from a folder beside it."""
    (folder / "deeper").mkdir(parents=True)
    (folder / "deeper" / "constants.py").write_text(f"POWER = {power}\n")
    (folder / "helper.py").write_text(HELPER)
    (folder / "p.py").write_text(HELPED.format(helper="helper", name=name))
    return folder / "p.py"


def test_a_plugin_may_import_a_file_beside_it_and_never_gets_anothers(tmp_path: Path) -> None:
    plugins = [helped(tmp_path / name, power, name) for name, power in (("first", 2.0), ("second", 3.0))]
    before, modules = list(sys.path), set(sys.modules)
    registry = discover(plugins)
    assert [registry.method(name).options for name in ("first", "second")] == [
        {"rule": "one", "power": 2.0}, {"rule": "one", "power": 3.0},
    ]  # fmt: skip
    assert registry.method("second:rule=other").options["rule"] == "other"
    assert sys.path == before
    assert not {"helper", "deeper", "deeper.constants"} & set(sys.modules)
    assert all(name.startswith("plugin_p_") for name in set(sys.modules) - modules)


def test_what_others_have_loaded_under_a_siblings_name_stays_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = types.ModuleType("helper")
    monkeypatch.setitem(sys.modules, "helper", theirs)
    assert discover([helped(tmp_path / "a", 2.0, "mine")]).method("mine").options["power"] == 2.0
    assert sys.modules["helper"] is theirs
    (tmp_path / "a" / "p.py").write_text("import helper\nraise ValueError('on purpose')\n")
    with pytest.raises(BenchmarkError, match="on purpose"):
        discover([tmp_path / "a" / "p.py"])
    assert sys.modules["helper"] is theirs


def test_the_digest_covers_what_a_plugin_imports_from_beside_it(tmp_path: Path) -> None:
    file = helped(tmp_path / "a", 2.0, "mine")
    discover([file])
    before = plugin_digest(file)
    (tmp_path / "a" / "unused.py").write_text("")
    discover([file])
    assert plugin_digest(file) == before
    (tmp_path / "a" / "deeper" / "constants.py").write_text("POWER = 2.0  # the same value, said at more length\n")
    discover([file])
    assert plugin_digest(file) != before
    discover([helped(tmp_path / "b", 2.0, "mine")])
    assert plugin_digest(tmp_path / "b" / "p.py") == before


def test_the_digest_of_a_plugin_without_siblings_is_that_of_its_bytes(tmp_path: Path) -> None:
    file = plugin(tmp_path)
    discover([file])
    assert plugin_digest(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_unknown_names_get_suggestions() -> None:
    with pytest.raises(BenchmarkError, match=r"There is no task 'greaterthan'. Did you mean 'greater-than'\?"):
        load_task("greaterthan")
    with pytest.raises(
        BenchmarkError, match=r"sva, tag-questions; 14 more by `attribution-bench list tasks`\.$"
    ) as raised:
        load_task("greaterthan")
    assert "litmus/" not in str(raised.value)
    with pytest.raises(
        BenchmarkError, match=r"Known: litmus/and-gate, .*; 9 more by `attribution-bench list tasks`\.$"
    ):
        load_task("litmus/nor-gates")
    with pytest.raises(BenchmarkError, match=r"no method 'integrated-gradient'. Did you mean 'integrated-gradients'"):
        load_method("integrated-gradient")


@dataclass(frozen=True)
class Optional(Method):
    name = "with-options"
    number: int = 1
    share: float = 0.5
    exact: bool = False
    way: Literal["one", "other"] = "one"


def test_options_are_parsed_by_their_types() -> None:
    made = build_method(Optional, {"number": "3", "share": "0.25", "exact": "true", "way": "other"})
    assert made == Optional(3, 0.25, True, "other")
    assert made.label == "with-options:number=3:share=0.25:exact=True:way=other"
    assert Optional().label == "with-options"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"nummber": "3"}, r"no option 'nummber'. Did you mean 'number'\? It takes number=1"),
        ({"number": "three"}, r"number='three' is not a value of type int"),
        ({"exact": "maybe"}, r"exact='maybe' is not a value of type bool"),
        ({"number": 3.7}, r"number=3.7 is not a value of type int"),
        ({"way": "third"}, r"way='third' is not one of one, other"),
    ],
)
def test_bad_options_say_what_is_taken(options: dict[str, object], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        build_method(Optional, options)


@pytest.mark.parametrize("spec", ["integrated-gradients:steps=0", "activation-patching:neurons=-1"])
def test_options_out_of_range_are_refused(spec: str) -> None:
    with pytest.raises(BenchmarkError, match=r"steps=0|neurons=-1"):
        discover().method(spec)


def test_entry_points_are_found_and_a_broken_one_is_skipped_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(tmp_path, "from-a-package", "packaged_tasks.py")
    monkeypatch.syspath_prepend(tmp_path)
    group = "attribution_bench.tasks"
    found = [
        importlib.metadata.EntryPoint("good", "packaged_tasks", group),
        importlib.metadata.EntryPoint("bad", "not_installed_anywhere", group),
        importlib.metadata.EntryPoint("unfit", "packaged_unfit", group),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found if group.endswith("tasks") else [])
    unfit = "from benchmark import Method\nclass Mine(Method):\n    name = 'mine'\n    steps: list = []\n"
    (tmp_path / "packaged_unfit.py").write_text(unfit)
    with pytest.warns(UserWarning, match="is skipped") as warned:
        assert "from-a-package" in discover().tasks
    said = [str(warning.message) for warning in warned]
    assert any(line.startswith("Plugin bad = not_installed_anywhere is skipped") for line in said)
    assert any(line.startswith("Plugin unfit = packaged_unfit is skipped") for line in said)


def test_a_package_that_is_installed_meanwhile_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert "from-a-package" not in discover().tasks
    plugin(tmp_path, "from-a-package", "packaged_later.py")
    about = tmp_path / "packaged_later-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: packaged-later\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[attribution_bench.tasks]\nlater = packaged_later\n")
    importlib.invalidate_caches()
    assert "from-a-package" in discover().tasks


SHADOWED = """
import importlib, pathlib, sys
from benchmark.cli import main

for name, words in {"tasks": ["list", "tasks"], "methods": ["list", "methods"], "reports": ["report", "r"]}.items():
    pathlib.Path(f"{name}.py").write_text("")
    importlib.invalidate_caches()
    print(name, main(words), file=sys.stderr)
    pathlib.Path(f"{name}.py").unlink()
    del sys.modules[name]
    importlib.invalidate_caches()
"""


def test_a_module_that_shadows_ours_is_named(tmp_path: Path) -> None:
    """One name after the other, in a process that was started where the module lies."""
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "run.json").write_text('{"runs": []}')
    run = subprocess.run(
        [sys.executable, "-c", SHADOWED], cwd=tmp_path, capture_output=True, text=True, check=True
    )  # fmt: skip
    for name in ("tasks", "methods", "reports"):
        assert f"The import name '{name}' is taken by {tmp_path / name}.py" in run.stderr
        assert f"\n{name} 2\n" in run.stderr
