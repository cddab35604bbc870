"""How often a GPU is waited for doesn't depend on the number of forwards."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from benchmark.engine.integrals import Quadrature
from benchmark.engine.intervention import Intervention
from benchmark.engine.model import Model
from benchmark.engine.replay import shortcuts
from benchmark.engine.request import Request
from benchmark.errors import BenchmarkError
from tests.tiny import tiny_model, tiny_pairs

FETCHES = {"item", "tolist", "cpu", "numpy", "__bool__", "__int__", "__float__", "__index__", "tensor", "as_tensor"}
MAKERS = {"arange", "zeros", "ones", "full", "empty", "linspace", "eye", "rand", "randn"}  # on the CPU, if not told
READS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2", "aten::equal"}

HALVES = torch.full((8, 3, 4), 0.5)  # masks


class Fetched(TorchFunctionMode):
    """Counts what hands values over to Python, and what is made on the CPU for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options, name = options or {}, function.__name__
        empty = bool(arguments) and arguments[0] == [] if name == "tensor" else False  # of a cache: nothing to copy
        if (name in FETCHES and not empty) or (name in MAKERS and options.get("device") is None):
            self.found[name] += 1
        if name in ("__getitem__", "__setitem__"):
            index = arguments[1] if isinstance(arguments[1], tuple) else (arguments[1],)
            self.found["by a mask"] += any(isinstance(x, torch.Tensor) and x.dtype == torch.bool for x in index)
        return function(*arguments, **options)


class Read(TorchDispatchMode):
    """Counts operations whose result has a size, or is a number, that only the device knows."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        self.found[operation.name()] += operation.name().partition(".")[0] in READS
        return operation(*arguments, **(options or {}))


def counted(model: Model, run: Callable[[], Any]) -> tuple[Counter[str], int]:
    """What a run fetched, and how many forwards it took."""
    forwards = 0
    plain = model.logits

    def logits(*arguments: Any, **options: Any) -> Any:
        nonlocal forwards
        forwards += 1
        return plain(*arguments, **options)

    vars(model)["logits"] = logits
    try:
        with model.finite_in_the_end(), Fetched() as fetched, Read() as read:  # as methods run
            run()
    finally:
        del vars(model)["logits"]
    return +fetched.found + +read.found, forwards


def patch(one: Intervention) -> None:
    one.patch({site: torch.arange(one.model.size(site.kind)) for site in one.sites})


def integrate(one: Intervention) -> None:
    one.integrate([[site] for site in one.sites], Quadrature.gauss_legendre(4))


def value(one: Intervention) -> None:
    one.value({"head": HALVES})


def slopes(one: Intervention) -> None:
    one.slopes({"head": HALVES})


def alone(one: Intervention) -> None:
    one.integrate_alone({site: torch.arange(3) for site in one.sites}, Quadrature.gauss_legendre(4))


def inputs(one: Intervention) -> None:
    one.integrate_inputs(Quadrature.gauss_legendre(8))


@pytest.mark.parametrize("work", [patch, integrate, alone, inputs, value, slopes], ids=lambda work: work.__name__)
def test_waits_do_not_grow_with_the_forwards(deep_llama: Model, work: Callable[[Intervention], None]) -> None:
    model = deep_llama
    shortcuts(model)
    batch = next(tiny_pairs(model).batches())
    found = []
    for rows in (8, 2):
        one = Intervention(model, batch, Request(("head",), rows_per_forward=rows))
        found.append(counted(model, lambda one=one: work(one)))
    (few, once), (many, often) = found
    assert often > 2 * once > 2
    assert few == many


def test_a_batch_of_more_sites_waits_no_more(deep_llama: Model) -> None:
    """What changes is found out for all sites together."""
    batch = next(tiny_pairs(deep_llama).batches())
    found = []
    for sites in (1, 3):
        one = Intervention(deep_llama, batch, Request(("head",)))
        one.sites = one.sites[:sites]
        found.append(counted(deep_llama, lambda one=one: patch(one))[0])
    assert found[0]["cpu"] == found[1]["cpu"]


@pytest.mark.parametrize("work", [patch, integrate, value])
def test_what_is_not_finite_is_refused_before_any_score(work: Callable[[Intervention], None]) -> None:
    """Though it is looked for at the end: here only patched runs overflow."""
    model = tiny_model("gpt2")
    one = Intervention(model, next(tiny_pairs(model).batches()), Request(("head",)))
    for site in one.sites:
        one.replacement[site].fill_(torch.inf)
    with pytest.raises(BenchmarkError, match="NaN or infinite logits"):
        work(one)
    assert model._finite is None
    with pytest.raises(BenchmarkError, match="NaN or infinite logits"):  # outside, at once
        model.run(torch.tensor([[2, 3]]), {one.sites[0]: lambda live: live * torch.nan})


def test_a_failure_that_comes_of_them_says_so_too() -> None:
    model = tiny_model("gpt2")
    broken = {model.sites(["head"])[0]: lambda live: live * torch.nan}

    def fails_after(edits: dict[Any, Any]) -> None:
        with model.finite_in_the_end():
            model.run(torch.tensor([[2, 3]]), edits)
            raise ZeroDivisionError

    with pytest.raises(BenchmarkError, match="NaN or infinite logits") as caught:
        fails_after(broken)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        fails_after({})


def test_trials_look_at_once_and_leave_no_mark() -> None:
    model = tiny_model("gpt2")
    broken = {model.sites(["head"])[0]: lambda live: live * torch.nan}
    with model.finite_in_the_end(), model.uncounted(), pytest.raises(BenchmarkError, match="NaN or infinite"):
        model.run(torch.tensor([[2, 3]]), broken)
