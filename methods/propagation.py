"""Propagation by backward rules: RelP, AttnLRP, CP-LRP and GIM."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from benchmark.engine.backward import acting, backward_rules, named
from benchmark.engine.integrals import AT_ONE
from benchmark.engine.intervention import Intervention
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.request import Cost, Request
from benchmark.errors import BenchmarkError
from benchmark.prompts.pairs import PairBatch


@dataclass(frozen=True)
class Propagation(Method):
    """`(a - r) . G`, where G is the gradient of f under backward rules: attribution patching with another derivative.

    `rules` is a preset (`relp`, `attn-lrp`, `cp-lrp`, `gim`) or names of rules joined by "+" (`benchmark.engine.
    backward`). A preset leaves out the rules of parts that a model lacks; a rule that is named must act. `temperature`
    is that of the rule `softmax-temperature`.
    """

    name: ClassVar[str] = "propagation"
    summary: ClassVar[str] = "attribution patching with a gradient by backward rules (RelP, AttnLRP, CP-LRP, GIM)"
    citation: ClassVar[str] = "jafari2025; achtibat2024; ali2022; edin2025"
    by_default: ClassVar[bool] = False
    by_position: ClassVar[bool] = True
    variants: ClassVar[tuple[str, ...]] = ("", "rules=cp-lrp", "rules=gim")
    rules: str = "relp"
    temperature: float = 2.0

    def __post_init__(self) -> None:
        rules = named(self.rules)
        if self.temperature <= 0:
            raise BenchmarkError(f"{self.name}: temperature={self.temperature}; it must be above 0.")
        if self.temperature != type(self).temperature and "softmax-temperature" not in rules:
            raise BenchmarkError(
                f"{self.name}: rules={self.rules} has no use for a temperature. Add the rule softmax-temperature, or "
                "leave the temperature out."
            )

    def check(self, kinds, replacement, direction) -> None:  # type: ignore[no-untyped-def]
        super().check(kinds, replacement, direction)
        unreached = [kind for kind in kinds if kind in ("query", "key")]
        if unreached and "frozen-attention" in named(self.rules):
            raise BenchmarkError(
                f"Method {self.label!r} takes attention patterns as constants, so it can't do component kind "
                f"{unreached[0]!r}: its scores would all be 0. Leave queries and keys out."
            )

    def attribute(self, model: Model, batch: PairBatch, request: Request) -> dict[str, Tensor]:
        rules = acting(model, self.rules)
        intervention = Intervention(model, batch, request)
        with backward_rules(model, rules, self.temperature):
            scores = intervention.integrate([intervention.sites], AT_ONE)
        return intervention.stacked(scores)

    def cost(self, model: Model, request: Request) -> Cost:
        return Cost(forward=3, backward=1)
