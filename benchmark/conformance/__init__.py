"""Does a plugin do what it claims? The checks behind `attribution-bench check`, and for a plugin author's own tests.

Each check is a function whose name says what is promised; `METHOD_CHECKS` and `TASK_CHECKS` list them.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from benchmark.conformance.declarations import (
    declared_cost,
    declared_support,
    no_replacement_has_a_say,
    refusals,
    works_without_corrupted_prompts,
)
from benchmark.conformance.effects import (
    denoising_is_noising_exchanged,
    every_query_head_by_itself,
    exact_if_a_reference,
    exact_on_linear_parallel,
    neurons_at_their_post_activation,
    nothing_where_nothing_is_written,
    paths_through_later_heads,
    sign_convention,
)
from benchmark.conformance.findings import ConformanceError, Finding, carry_out, name_of, refuse_failures
from benchmark.conformance.laws import (
    completeness,
    scores_scale_with_the_metric,
    signs_as_declared,
    zero_where_nothing_changes,
)
from benchmark.conformance.manners import left_as_found, metric_left_as_it_is
from benchmark.conformance.promises import (
    deterministic_under_a_seed,
    independent_of_batching,
    independent_of_earlier_calls,
    independent_of_the_kinds_asked_for,
    right_shapes_on_every_architecture,
)
from benchmark.conformance.task_on_model import (
    audit_keeps_enough,
    first_tokens_tell_answers_apart,
    means_are_possible,
    metrics_are_not_degenerate,
    metrics_tell_right_from_wrong,
)
from benchmark.conformance.task_text import (
    generator_reproduces_the_file,
    metadata_is_complete,
    no_identical_prompts,
    rows_are_complete,
    splits_share_no_prompt,
)
from benchmark.conformance.task_trial import TaskTrial
from benchmark.conformance.trial import Trial, variants_of
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.errors import BenchmarkError, did_you_mean
from benchmark.prompts.task import Task
from benchmark.running.plugins import Registry, as_dataclass, discover

METHOD_CHECKS: tuple[Callable[[Trial], None], ...] = (
    right_shapes_on_every_architecture, declared_support, refusals, works_without_corrupted_prompts,
    no_replacement_has_a_say, declared_cost,
    deterministic_under_a_seed, independent_of_batching, independent_of_the_kinds_asked_for,
    independent_of_earlier_calls, left_as_found, metric_left_as_it_is,
    zero_where_nothing_changes, sign_convention, signs_as_declared, exact_on_linear_parallel, exact_if_a_reference,
    neurons_at_their_post_activation, every_query_head_by_itself, nothing_where_nothing_is_written,
    denoising_is_noising_exchanged, paths_through_later_heads,
    completeness, scores_scale_with_the_metric,
)  # fmt: skip
TASK_CHECKS: tuple[Callable[[TaskTrial], None], ...] = (
    rows_are_complete, no_identical_prompts, splits_share_no_prompt, generator_reproduces_the_file,
    metadata_is_complete, audit_keeps_enough, first_tokens_tell_answers_apart, means_are_possible,
    metrics_tell_right_from_wrong, metrics_are_not_degenerate,
)  # fmt: skip
Checked = TypeVar("Checked", bound=Callable[..., None])
__all__ = [
    "METHOD_CHECKS", "TASK_CHECKS", "ConformanceError", "Finding", "check_method", "check_task", "method_findings",
    "methods_to_check", "named_checks", "task_findings",
]  # fmt: skip


def check_method(method: Method | type[Method] | str, only: Sequence[str] = ()) -> list[Finding]:
    """Hold a method to what it claims: seconds, on tiny random and planted models, without a network.

    Give a class or a name for all its `variants`, an instance or `name:option=value` for these options; `only` names
    the checks to carry out. Returns the findings; raises ConformanceError that lists every check that failed.
    """
    checks = named_checks(METHOD_CHECKS, only)
    findings = [finding for one in methods_to_check(method) for finding in method_findings(one, checks)]
    refuse_failures(findings)
    return findings


def check_task(task: Task | str, model: Model | str | None = None, only: Sequence[str] = ()) -> list[Finding]:
    """Hold a task to what it promises, under the tokenizer of a model (by default `pocket`); `only` names the checks.

    Returns the findings; raises ConformanceError that lists every check that failed.
    """
    findings = list(task_findings(task, model, named_checks(TASK_CHECKS, only)))
    refuse_failures(findings)
    return findings


def named_checks(known: Sequence[Checked], names: Sequence[str]) -> tuple[Checked, ...]:
    """The checks of these names in the order of the list; all of them where none is named."""
    by_name = {name_of(check): check for check in known}
    for name in names:
        if name not in by_name:
            raise BenchmarkError(
                f"There is no check {name!r}.{did_you_mean(name, list(by_name))} There are {', '.join(by_name)}."
            )
    return tuple(check for name, check in by_name.items() if not names or name in names)


def methods_to_check(method: Method | type[Method] | str, registry: Registry | None = None) -> list[Method]:
    """A method with its options as given; a class, or a name without options, under each of its `variants`."""
    if isinstance(method, Method):
        as_dataclass(type(method))
        return [method]
    if isinstance(method, str):
        registry = registry or discover()
        if ":" in method:
            return [registry.method(method)]
        method = registry.method_class(method)
    found = variants_of(method)
    if not found:
        raise BenchmarkError(f"Method {method.name!r} has no `variants` to check: its scores come from elsewhere.")
    return found


def method_findings(method: Method, checks: Sequence[Callable[[Trial], None]] = METHOD_CHECKS) -> Iterator[Finding]:
    """What each check finds about a method under its options."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tiny models: more threads only wait for each other, minutes long on a busy machine
    try:
        yield from carry_out(checks, Trial(method), method.label)
    finally:
        torch.set_num_threads(threads)


def task_findings(
    task: Task | str,
    model: Model | str | None = None,
    checks: Sequence[Callable[[TaskTrial], None]] = TASK_CHECKS,
) -> Iterator[Finding]:
    """What each check finds about a task."""
    from benchmark.models.loading import load_model

    found = discover().task(task) if isinstance(task, str) else task
    if found.truth is not None:
        raise BenchmarkError(f"Task {found.name!r} belongs to a planted model of that name: nothing is checked.")
    on = model if isinstance(model, Model) else load_model(*filter(None, [model]))
    return carry_out(checks, TaskTrial(found, on), found.name)
