"""Finding tasks and methods: the project's folders, installed packages' entry points, and files named by the user."""

import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import sys
import types
import typing
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import Field, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmark.engine.method import Method
from benchmark.errors import BenchmarkError, did_you_mean
from benchmark.models.litmus import LITMUS, PREFIX
from benchmark.packaged import ROOT
from benchmark.prompts.task import Task
from benchmark.running.siblings import siblings_of

GROUPS = ("default", "all")  # what `--methods` may name beside methods
_SIBLINGS = "__siblings__"  # in a plugin's module: the files beside it that it imported


@dataclass(frozen=True)
class Registry:
    """All tasks and method classes that were found, by name; `files` are the plugins that the user named."""

    tasks: dict[str, Task]
    methods: dict[str, type[Method]]
    files: tuple[str, ...] = ()

    def task(self, name: str) -> Task:
        task: Task = self._named(self.tasks, "task", name)
        return task

    def chosen_tasks(self, names: Sequence[str]) -> list[Task]:
        """The tasks of these names; for `("all",)` every one but those that want to be asked for."""
        if tuple(names) == ("all",):
            return [task for task in self.tasks.values() if not task.on_request]
        return [self.task(name) for name in dict.fromkeys(names)]

    def chosen_methods(self, names: Sequence[str]) -> list[Method]:
        """The methods of these names, in place of `default` those that a run takes unasked, of `all` all but a few."""
        every = [name for name, method in self.methods.items() if not method.on_request]
        groups = dict(zip(GROUPS, ([name for name in every if self.methods[name].by_default], every), strict=True))
        return [self.method(spec) for name in names for spec in groups.get(name, [name])]

    def variants(self) -> list[str]:
        """Every method that needn't be asked for, with each of its variants: `name` or `name:option=value`."""
        shown = [(name, method) for name, method in self.methods.items() if not method.on_request]
        return [f"{name}:{options}".rstrip(":") for name, method in shown for options in method.variants]

    def method_class(self, name: str) -> type[Method]:
        found: type[Method] = self._named(self.methods, "method", name)
        return found

    def method(self, spec: str) -> Method:
        """A method from `name:option=value:option=value`."""
        name, *passed = spec.split(":")
        made = self.method_class(name)
        pairs = [option.partition("=") for option in passed]
        for option, equals, _ in pairs:
            if not equals:
                raise BenchmarkError(f"Method {spec!r}: write options as name=value, not {option!r}.")
        return build_method(made, {option: value for option, _, value in pairs})

    def _named(self, known: dict[str, Any], what: str, name: str) -> Any:
        if name not in known:
            those = f", with those of {', '.join(self.files)}" if self.files else ""
            planted = name.startswith(PREFIX)
            shown = [one for one in sorted(known) if one.startswith(PREFIX) == planted]
            hidden = len(known) - len(shown)
            others = f"; {hidden} more by `attribution-bench list {what}s`" * bool(hidden)
            raise BenchmarkError(
                f"There is no {what} {name!r}.{did_you_mean(name, list(known))} "
                f"Known: {', '.join(shown)}{others}{those}."
            )
        return known[name]


def discover(plugin_files: Sequence[str | Path] = ()) -> Registry:
    """Every plugin, in the order folders, entry points, `plugin_files`. A name taken twice is an error."""
    tasks: dict[str, tuple[Task, str]] = {}
    methods: dict[str, tuple[type[Method], str]] = {}
    for litmus in LITMUS.values():
        _add(tasks, litmus.task.name, litmus.task, "benchmark/models/litmus", "task")
    for module in _modules(plugin_files):
        source = str(getattr(module, "__file__", module.__name__))
        for task in _tasks_in(module):
            _add(tasks, task.name, replace(task, source=Path(source)), source, "task")
        for method in _methods_in(module):
            _add(methods, method.name, method, source, "method")
    return Registry(
        {name: task for name, (task, _) in sorted(tasks.items())},
        {name: method for name, (method, _) in sorted(methods.items())},
        tuple(map(str, plugin_files)),
    )


def load_task(name: str) -> Task:
    """A task by name, e.g. `load_task("ioi")`."""
    return discover().task(name)


def load_method(name: str, **options: Any) -> Method:
    """A method by name with its options, e.g. `load_method("integrated-gradients", steps=32)`."""
    return build_method(discover().method_class(name), options)


def plugin_digest(file: str | Path | None) -> str | None:
    """sha256 of a plugin's source, and of the files beside it that it imports, so that editing them makes new cells.

    None for the project's own.
    """
    root = ROOT.resolve()
    if file is None or Path(file).resolve().parent in (root / "tasks", root / "methods"):
        return None
    digest = hashlib.sha256(Path(file).read_bytes())
    loaded = sys.modules.get(_module_name(Path(file)))
    for sibling in sorted(vars(loaded)[_SIBLINGS]) if loaded else ():
        place = sibling.relative_to(Path(file).resolve().parent).as_posix()
        digest.update(f"\n{place} {hashlib.sha256(sibling.read_bytes()).hexdigest()}".encode())
    return digest.hexdigest()


def build_method(made: type[Method], options: dict[str, Any]) -> Method:
    """A method with options given as values or as text; an unknown option or a bad value is an error."""
    known = {option.name: option for option in fields(as_dataclass(made))}
    hints = _hints(made)  # type: ignore[arg-type]  # mypy takes the class for an instance, whose hash is another
    for name in options:
        if name not in known:
            takes = ", ".join(f"{f.name}={f.default}" for f in known.values()) or "no options"
            raise BenchmarkError(
                f"Method {made.name!r} has no option {name!r}.{did_you_mean(name, list(known))} It takes {takes}."
            )
    return made(**{name: _parsed(made, known[name], hints[name], value) for name, value in options.items()})


@lru_cache
def _hints(made: type[Method]) -> dict[str, Any]:
    """Types of the options. Kept, because what a sibling file names is out of reach once its plugin is imported."""
    return typing.get_type_hints(made)


def as_dataclass(made: type[Method]) -> type[Method]:
    """The class, made a frozen dataclass where it is none: its annotated fields are its options."""
    for one in reversed(made.__mro__):
        if not issubclass(one, Method) or "__dataclass_fields__" in vars(one):
            continue
        if "__init__" in vars(one):
            raise BenchmarkError(
                f"Method class {one.__name__} has an `__init__` of its own. Leave it out and write its options as "
                "fields of the class, such as `steps: int = 8`."
            )
        try:
            dataclass(frozen=True)(one)
        except (TypeError, ValueError) as error:
            raise BenchmarkError(f"Method class {one.__name__} can't be made a frozen dataclass: {error}.") from error
    return made


def _parsed(made: type[Method], option: Field[Any], hint: Any, value: Any) -> Any:
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for kind in kinds:
        try:
            return _as_kind(kind, value)
        except (KeyError, ValueError, TypeError):
            continue
    wanted = " or ".join(map(_described, kinds))
    raise BenchmarkError(f"Method {made.name!r}: {option.name}={value!r} is not {wanted}.")


def _as_kind(kind: Any, value: Any) -> Any:
    """The value as this type, or as one of a Literal's choices. Raises KeyError, ValueError or TypeError."""
    if typing.get_origin(kind) is typing.Literal:
        return {str(choice): choice for choice in typing.get_args(kind)}[str(value)]
    if kind is bool:
        return {"true": True, "false": False}[str(value).lower()]
    if not isinstance(value, (str, int, kind) if kind is float else (str, kind)):
        raise TypeError(f"not a {kind}")
    return kind(value)


def _described(kind: Any) -> str:
    if typing.get_origin(kind) is not typing.Literal:
        return f"a value of type {getattr(kind, '__name__', kind)}"
    choices = typing.get_args(kind)
    return repr(choices[0]) if len(choices) == 1 else f"one of {', '.join(map(str, choices))}"


def _modules(plugin_files: Sequence[str | Path]) -> Iterator[types.ModuleType]:
    for package in ("tasks", "methods"):
        yield from _folder_modules(package)
    for group in ("attribution_bench.tasks", "attribution_bench.methods"):
        for entry in _entry_points(group, _state_of_path()):
            try:
                loaded = entry.load()
                module = loaded if isinstance(loaded, types.ModuleType) else importlib.import_module(entry.module)
                tuple(_methods_in(module))  # where one is refused, that is theirs to mend
                yield module
            except Exception as error:  # somebody else's package: say so and go on
                warnings.warn(f"Plugin {entry.name} = {entry.value} is skipped: {error!r}", stacklevel=2)
    for file in plugin_files:
        yield _file_module(Path(file))


@lru_cache
def _entry_points(group: str, path: tuple[tuple[str, int], ...]) -> list[importlib.metadata.EntryPoint]:
    """What installed packages offer. Kept until one comes or goes: looking takes ten times as long as all the rest."""
    return sorted(importlib.metadata.entry_points(group=group))


def _state_of_path() -> tuple[tuple[str, int], ...]:
    """The folders where packages are looked for, and when something was last put there or taken away."""
    return tuple((place, os.stat(place).st_mtime_ns) for place in sys.path if os.path.exists(place))


def refuse_shadow(package: str) -> types.ModuleType:
    """One of our folders, imported; an error that names the file where another module took its name."""
    ours = ROOT / package
    found = importlib.import_module(package)
    place = Path(found.__file__ or next(iter(found.__path__)))
    if place.parent.resolve() != ours.resolve():
        raise BenchmarkError(
            f"The import name {package!r} is taken by {place}, so attribution-bench can't find its own plugins in "
            f"{ours}. Rename or move that file, or start from another folder."
        )
    return found


def _folder_modules(package: str) -> Iterator[types.ModuleType]:
    found = refuse_shadow(package)
    for info in pkgutil.iter_modules(found.__path__):
        if not info.name.startswith("_"):
            try:
                yield importlib.import_module(f"{package}.{info.name}")
            except BenchmarkError:
                raise
            except Exception as error:
                where = f"{package}/{info.name}.py"
                raise BenchmarkError(f"{where} can't be imported: {type(error).__name__}: {error}") from error


def _file_module(path: Path) -> types.ModuleType:
    if not path.is_file():
        raise BenchmarkError(f"There is no plugin file {str(path)!r}.")
    spec = importlib.util.spec_from_file_location(_module_name(path), path.resolve())
    if spec is None or spec.loader is None:
        raise BenchmarkError(f"The plugin {str(path)!r} is no Python file: give one that ends in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        with siblings_of(path) as siblings:
            spec.loader.exec_module(module)
            methods = {method.name: _hints(method) for method in _methods_in(module)}  # type: ignore[arg-type]
        vars(module)[_SIBLINGS] = tuple(siblings)
    except (Exception, SystemExit) as error:
        del sys.modules[spec.name]
        if isinstance(error, BenchmarkError):
            raise
        raise BenchmarkError(f"The plugin {str(path)!r} can't be imported: {type(error).__name__}: {error}") from error
    if not methods and not any(True for _ in _tasks_in(module)):
        raise BenchmarkError(
            f"The plugin {str(path)!r} defines no Task value and no Method class with a `name`, "
            "each a name of its own in the file."
        )
    return module


def _module_name(plugin: Path) -> str:
    """A plugin's name among all modules: two files of one name don't meet."""
    return f"plugin_{plugin.stem}_{hashlib.sha256(str(plugin.resolve()).encode()).hexdigest()[:8]}"


def _tasks_in(module: types.ModuleType) -> Iterator[Task]:
    yield from (value for value in vars(module).values() if isinstance(value, Task))


def _methods_in(module: types.ModuleType) -> Iterator[type[Method]]:
    for value in vars(module).values():
        if not (isinstance(value, type) and issubclass(value, Method)):
            continue
        if value.__module__ == module.__name__ and "name" in vars(value):
            yield as_dataclass(value)


def _add(taken: dict[str, tuple[Any, str]], name: str, value: Any, source: str, what: str) -> None:
    if name in taken:
        raise BenchmarkError(f"Two {what}s are named {name!r}: in {taken[name][1]} and in {source}. Rename one.")
    taken[name] = (value, source)
