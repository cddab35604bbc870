"""The fixtures, where tests run: the process that only hands them out is spared the seconds of their imports."""

import gc

import pytest


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("dist", "no") == "no" or config.option.collectonly:
        gc.disable()  # until all is imported, of which nothing is garbage: a fifth of the time of importing
        config.pluginmanager.import_plugin("tests.fixtures")


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()  # nor need what is there to stay be looked through again and again
