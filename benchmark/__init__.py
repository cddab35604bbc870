"""attribution-bench: benchmark attribution methods on transformer language models.

The public face. Names are imported on first use, so that `import benchmark` stays light.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what editors and type checkers see; a test holds it together with `_HOME`
    from benchmark.conformance import ConformanceError as ConformanceError
    from benchmark.conformance import check_method as check_method
    from benchmark.conformance import check_task as check_task
    from benchmark.engine.integrals import AT_ONE as AT_ONE
    from benchmark.engine.integrals import Quadrature as Quadrature
    from benchmark.engine.intervention import Intervention as Intervention
    from benchmark.engine.method import Method as Method
    from benchmark.engine.model import Model as Model
    from benchmark.engine.request import Cost as Cost
    from benchmark.engine.request import Design as Design
    from benchmark.engine.request import Request as Request
    from benchmark.engine.scores import Scores as Scores
    from benchmark.errors import BenchmarkError as BenchmarkError
    from benchmark.faithfulness.measuring import circuits as circuits
    from benchmark.models.loading import load_model as load_model
    from benchmark.models.loading import load_tokens as load_tokens
    from benchmark.prompts.dataset import PromptPair as PromptPair
    from benchmark.prompts.metrics import Metric as Metric
    from benchmark.prompts.metrics import kl as kl
    from benchmark.prompts.metrics import log_likelihood as log_likelihood
    from benchmark.prompts.metrics import logit_diff as logit_diff
    from benchmark.prompts.metrics import prob_diff as prob_diff
    from benchmark.prompts.pairs import Pairs as Pairs
    from benchmark.prompts.pairs import make_pairs as make_pairs
    from benchmark.prompts.task import Task as Task
    from benchmark.running.paths import path_effects as path_effects
    from benchmark.running.plugins import load_method as load_method
    from benchmark.running.plugins import load_task as load_task
    from benchmark.running.runner import run as run
    from benchmark.store.folder import Results as Results
    from benchmark.tracing.trace import Trace as Trace
    from benchmark.tracing.trace import trace as trace

_HOME = {
    "AT_ONE": "engine.integrals",
    "BenchmarkError": "errors",
    "ConformanceError": "conformance",
    "Cost": "engine.request",
    "Design": "engine.request",
    "Intervention": "engine.intervention",
    "Method": "engine.method",
    "Metric": "prompts.metrics",
    "Model": "engine.model",
    "Pairs": "prompts.pairs",
    "PromptPair": "prompts.dataset",
    "Quadrature": "engine.integrals",
    "Request": "engine.request",
    "Results": "store.folder",
    "Scores": "engine.scores",
    "Task": "prompts.task",
    "Trace": "tracing.trace",
    "check_method": "conformance",
    "check_task": "conformance",
    "circuits": "faithfulness.measuring",
    "kl": "prompts.metrics",
    "load_method": "running.plugins",
    "load_model": "models.loading",
    "load_task": "running.plugins",
    "load_tokens": "models.loading",
    "log_likelihood": "prompts.metrics",
    "logit_diff": "prompts.metrics",
    "make_pairs": "prompts.pairs",
    "path_effects": "running.paths",
    "prob_diff": "prompts.metrics",
    "run": "running.runner",
    "trace": "tracing.trace",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'benchmark' has no attribute {name!r}")
    return getattr(importlib.import_module(f"benchmark.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
