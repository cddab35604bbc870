"""Files beside a plugin that it imports: each plugin gets its own, and other code never sees them."""

import importlib
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OURS = {"benchmark", "tasks", "methods", "reports"}
_LIBRARIES = {"site-packages", "dist-packages"}  # a plugin there imports what everybody does


@contextmanager
def siblings_of(plugin: Path) -> Iterator[list[Path]]:
    """While open, imports look beside the plugin first; then the list holds the files there that were imported.

    They are taken out of `sys.modules` again, so that another plugin's `helper.py` is never mistaken for this one's;
    a module of such a name that was there before comes back.
    """
    folder, found = plugin.resolve().parent, list[Path]()
    if folder.name in _LIBRARIES:
        yield found
        return
    taken = {top for top in set(map(_top, sys.modules)) if _may_shadow(folder, top)}
    aside = {name: module for name, module in sys.modules.items() if _top(name) in taken}
    for name in aside:
        del sys.modules[name]
    before = set(sys.modules)
    importlib.invalidate_caches()  # a file may just have been written
    sys.path.insert(0, str(folder))
    try:
        yield found
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            files = _files_in(folder, sys.modules[name]) if _is_beside(folder, name) else None
            if files is not None:
                found += files
                del sys.modules[name]
        sys.modules.update(aside)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _may_shadow(folder: Path, top: str) -> bool:
    """Whether a loaded module bears the name of a module in the folder."""
    if top in _OURS or top in sys.stdlib_module_names:
        return False
    return (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file()


def _is_beside(folder: Path, name: str) -> bool:
    top = _top(name)
    return top not in _OURS and ((folder / f"{top}.py").is_file() or (folder / top).is_dir())


def _files_in(folder: Path, module: types.ModuleType) -> list[Path] | None:
    """The module's file, none for a folder without `__init__.py`; None where it comes from elsewhere."""
    file = getattr(module, "__file__", None)
    places = [Path(place).resolve() for place in ([file] if file else getattr(module, "__path__", ()))]
    if not any(place.is_relative_to(folder) for place in places):
        return None
    return places if file else []
