"""Planted models in which a neuron downstream bends what components do, so that effects don't add up."""

from math import nan

from benchmark.models.litmus.litmus import Litmus, slot, switches
from benchmark.models.litmus.planted import Head, Neuron

_ON, _YES = {"on": 1.0}, {"yes": 1.0}
_BOTH = switches("on on", "off off")

and_gate = Litmus(
    "and-gate",
    "AND gate",
    "Head 0.0 and head 1.1 read a switch each; a neuron answers only if both are on: relu(h0 + h1 - 1).",
    "Each is necessary, neither suffices. Noising goes from F(1, 1) = 1 to F(0, 1) = 0: both score all there is. "
    "Denoising goes from 0 to 0: one head alone brings nothing back, and both score 0.",
    _BOTH,
    heads=(Head(0, 0, slot(2), [(_ON, {"h0": 1})]), Head(1, 1, slot(3), [(_ON, {"h1": 1})])),
    neurons=(Neuron(1, 0, {"h0": 1, "h1": 1}, _YES, -1),),
    citation="heimersheim2024",
    effects={"head": {(0, 0): nan, (1, 1): nan}},
)

or_gate = Litmus(
    "or-gate",
    "OR gate",
    "Head 0.0 and head 1.1 read a switch each; one that is on is enough: h0 + h1 - relu(h0 + h1 - 1).",
    "Either suffices, neither is necessary. Noising goes from F(1, 1) = 1 to F(0, 1) = 1: both score 0, and so does "
    "any method that moves one layer while the other stands. Denoising goes from 0 to 1. Shapley values, and paths on "
    "which both move, give each its share.",
    _BOTH,
    heads=(
        Head(0, 0, slot(2), [(_ON, {"yes": 1, "h0": 1})]),
        Head(1, 1, slot(3), [(_ON, {"yes": 1, "h1": 1})]),
    ),
    neurons=(Neuron(1, 0, {"h0": 1, "h1": 1}, {"yes": -1}, -1),),
    citation="heimersheim2024",
    effects={"head": {(0, 0): nan, (1, 1): nan}},
)

saturation = Litmus(
    "saturation",
    "Saturation",
    "Head 0.0 gives 2 where the switch is on; a neuron of layer 1 holds the answer at 1: h0 - relu(h0 - 1).",
    "F(m) = min(2m, 1) is flat at m = 1: attribution patching (noising) scores 0 where the effect is 1. At the other "
    "end the slope is 2, and denoising gives twice the effect. The integral of the slope is 1. The joint path also "
    "moves the neuron that does the limiting, and gives the head more.",
    _BOTH,
    heads=(Head(0, 0, slot(2), [(_ON, {"yes": 2, "h0": 2})]),),
    neurons=(Neuron(1, 0, {"h0": 1}, {"yes": -1}, -1),),
    citation="kramar2024",
    effects={"head": {(0, 0): 1}},
)

same_site = Litmus(
    "same-site-interaction",
    "Interaction within a site",
    "Heads 0.0 (a) and 0.1 (b) of one layer: a + 6 relu(a + 2b - 2) - 6 relu(a + b - 1). With switches on or off this "
    "is a, whatever b.",
    "At the corners, with each head on or off, head 0.1 changes nothing: exact patching and Shapley values give 1 and "
    "0. The slope at the clean corner is 1 and 6, so attribution patching ranks the wrong head first. The site path "
    "leads through the inside, where head 0.1 does bend F, and the integral hands it what belongs to head 0.0. A "
    "mean, too, lies inside, where even exact patching reads a model that no prompt ever sees.",
    _BOTH,
    heads=(
        Head(0, 0, slot(2), [(_ON, {"yes": 1, "a": 1})]),
        Head(0, 1, slot(3), [(_ON, {"b": 1})]),
    ),
    neurons=(
        Neuron(0, 0, {"a": 1, "b": 2}, {"yes": 6}, -2),
        Neuron(0, 1, {"a": 1, "b": 1}, {"yes": -6}, -1),
    ),
    effects={"head": {(0, 0): 1}},
)
