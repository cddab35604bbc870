"""attribution-bench: benchmark attribution methods on transformer language models.

The public face. Names are imported on first use, so that `import benchmark` stays light.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.conformance import ConformanceError as ConformanceError
    from benchmark.conformance import check_method as check_method
    from benchmark.conformance import check_task as check_task
    from benchmark.dataset import PromptPair as PromptPair
    from benchmark.errors import BenchmarkError as BenchmarkError
    from benchmark.loading import load_model as load_model
    from benchmark.loading import load_tokens as load_tokens
    from benchmark.method import Cost as Cost
    from benchmark.method import Method as Method
    from benchmark.method import Request as Request
    from benchmark.method import Scores as Scores
    from benchmark.metrics import logit_diff as logit_diff
    from benchmark.metrics import prob_diff as prob_diff
    from benchmark.pairs import make_pairs as make_pairs
    from benchmark.plugins import load_method as load_method
    from benchmark.plugins import load_task as load_task
    from benchmark.runner import run as run
    from benchmark.store import Results as Results
    from benchmark.task import Task as Task

_HOME = {
    "BenchmarkError": "errors", "ConformanceError": "conformance", "Cost": "method", "Method": "method",
    "PromptPair": "dataset", "Request": "method", "Results": "store", "Scores": "method", "Task": "task",
    "check_method": "conformance", "check_task": "conformance", "load_method": "plugins", "load_model": "loading",
    "load_task": "plugins", "load_tokens": "loading", "logit_diff": "metrics", "make_pairs": "pairs",
    "prob_diff": "metrics", "run": "runner",
}  # fmt: skip
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    return getattr(importlib.import_module(f"benchmark.{_HOME[name]}"), name)
