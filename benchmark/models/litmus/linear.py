"""Planted models that are linear in every component: what any method should get right."""

from benchmark.models.litmus.litmus import NOWHERE, Litmus, slot, switches
from benchmark.models.litmus.planted import Amount, Head, Neuron

_S1, _S2 = slot(2), slot(3)  # where the two switches stand in `. colour S1 S2`
_ON, _YES = {"on": 1.0}, {"yes": 1.0}


def _yes(amount: Amount) -> dict[str, Amount]:
    return {"yes": amount}


linear_parallel = Litmus(
    "linear-parallel",
    "Linear, in parallel",
    "Three heads and two neurons add to the answer or take from it. None feeds another, and nothing bends.",
    "F(m) is a sum of one term a component: slope, path and neighbours make no difference. Any method that claims to "
    "estimate a component's effect must give these numbers.",
    switches("on on", "off off"),
    heads=(
        Head(0, 0, _S1, [(_ON, _yes(2))]),
        Head(0, 2, _S2, [(_ON, _yes(1))]),
        Head(1, 1, _S1, [(_ON, _yes(-0.5))]),
    ),
    neurons=(Neuron(0, 1, _ON, _yes(1), bias=1), Neuron(1, 4, _ON, _yes(-0.75), bias=1)),
    effects={"head": {(0, 0): 2, (0, 2): 1, (1, 1): -0.5}, "neuron": {(0, 1): 1, (1, 4): -0.75}},
)

linear_chain = Litmus(
    "linear-chain",
    "Linear, in a chain",
    "Head 0.0 takes 1 from the answer and hands what it read to head 1.0, which adds 3 to it.",
    "F = -m0 + 3 m0 m1 is linear in each m alone, so patching and its slope agree: 2 and 3. They count the chain "
    "twice and sum to 5, where all that changes is 2. Joint integrated gradients and Shapley values share it out: 0.5 "
    "and 1.5. Neither is wrong; they answer different questions, and here the effect of one component alone is asked "
    "for.",
    switches("on on", "off off"),
    heads=(Head(0, 0, _S1, [(_ON, {"yes": -1, "relay": 1})]), Head(1, 0, slot(3), [({"relay": 1}, _yes(3))])),
    effects={"head": {(0, 0): 2, (1, 0): 3}},
)

cancellation = Litmus(
    "cancellation",
    "Cancellation",
    "Head 0.0 adds 5 to the answer, head 0.1 takes 4 from it.",
    "F = 5 m0 - 4 m1: both effects are large, their sum is small. Who patches the whole site, or looks at what "
    "changes in all, sees 1.",
    switches("on on", "off off"),
    heads=(Head(0, 0, _S1, [(_ON, _yes(5))]), Head(0, 1, _S2, [(_ON, _yes(-4))])),
    citation="kramar2024",
    effects={"head": {(0, 0): 5, (0, 1): -4}},
)

inhibition = Litmus(
    "inhibition",
    "Inhibition",
    "Head 0.0 adds 3 to the answer; head 1.2 reads the same word and takes 1.5 from it.",
    "F = 3 m0 - 1.5 m1: head 1.2 works against the answer. A score without a sign finds it and can't say so.",
    switches("on on", "off off"),
    heads=(Head(0, 0, _S1, [(_ON, _yes(3))]), Head(1, 2, _S1, [(_ON, _yes(-1.5))])),
    citation="wang2022",
    effects={"head": {(0, 0): 3, (1, 2): -1.5}},
)

distributed = Litmus(
    "distributed",
    "Distributed",
    "Each of 64 neurons of layer 0, every second one, adds 1/16 to the answer.",
    "F is linear and no neuron stands out: a list of the top few holds a few of 64. Scores are small and alike, so "
    "that anything that rounds, samples or cuts loses most of the circuit.",
    switches("on on", "off off"),
    neurons=tuple(Neuron(0, 2 * number, _ON, _yes(1 / 16), bias=1) for number in range(64)),
    effects={"neuron": {(0, 2 * number): 1 / 16 for number in range(64)}},
    d_mlp=128,
)

decoys = Litmus(
    "decoys",
    "Decoys",
    "Head 0.0 changes by 0.1 between the prompts and decides the answer. Two heads and two neurons change by 10 and "
    "write where nobody reads.",
    "dF/dm of a decoy is 0 everywhere. How far an activation moves says nothing about what it does: who leaves the "
    "metric out ranks the decoys first.",
    switches("on on", "off off"),
    heads=(
        Head(0, 0, _S1, [({"on": 0.1}, _yes(10))]),
        Head(0, 3, _S1, [({"on": 10}, NOWHERE)]),
        Head(1, 1, _S2, [({"on": 10}, NOWHERE)]),
    ),
    neurons=(Neuron(0, 2, {"on": 10}, NOWHERE, 1), Neuron(1, 5, {"on": 10}, NOWHERE, 1)),
    effects={"head": {(0, 0): 1}, "neuron": {}},
)

off_distribution = Litmus(
    "off-distribution",
    "Off the distribution",
    "Head 0.0 carries the switch, head 0.1 the same number 1 on every prompt. A neuron gives relu(h0 + 2 h1 - 1.5).",
    "Head 0.1 tells no prompt from another: the counterfactual and the mean are what it gives anyway, so its m changes "
    "nothing. Zero never occurs there: at m = 0 the neuron falls silent, and the head that carries only a bias "
    "scores highest.",
    switches("on on", "off off"),
    heads=(Head(0, 0, _S1, [(_ON, {"h0": 1})]), Head(0, 1, _S1, [({"one": 1}, {"h1": 1})])),
    neurons=(Neuron(1, 0, {"h0": 1, "h1": 2}, _YES, -1.5),),
    citation="hase2021",
    effects={"head": {(0, 0): 1}},
)
