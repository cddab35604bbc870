"""Whether a model that is spread over two devices scores as on one: `python -m tests.performance.spread`.

Random small models of several layouts, half of the blocks on the CPU and half on a GPU, both ways round, and on the GPU
alone; every method on heads and neurons, and some on other kinds. Prints the largest difference from the CPU's scores
and ends with an error where one is above 1e-4. Without a GPU, one is played by `tests.elsewhere`: that shows whether
tensors meet where they should, not what a GPU makes of them. `--large GB` loads a random Llama of that size onto the
GPU instead, twice, and prints the seconds and the memory of the process.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import dispatch_model

from benchmark.components import DEFAULT_KINDS
from benchmark.engine.method import Method
from benchmark.engine.model import Model
from benchmark.engine.replay import shortcuts
from benchmark.engine.weights import ov_circuit, unembedding_bias, value_bias
from benchmark.errors import BenchmarkError
from benchmark.models.tiny import PAIRS, attach_random, hf_model, tiny_pairs, tokenizer
from benchmark.running.paths import path_effects
from benchmark.running.plugins import discover
from tests.elsewhere import Elsewhere, registered

KINDS = ("attention", "mlp", "query", "key", "value", "residual-feature", "mlp-feature")
PLACES = ("residual", "embedding", "head", "pattern")


def divided(hf: Any, first: torch.device, second: torch.device) -> Any:
    """The model with its embeddings and the lower half of its blocks on the first device, the rest on the second."""
    inner = getattr(hf, hf.base_model_prefix)
    places: dict[str, torch.device] = {}
    for name, part in inner.named_children():
        here = f"{hf.base_model_prefix}.{name}"
        if isinstance(part, torch.nn.ModuleList):
            places |= {f"{here}.{n}": first if n < len(part) // 2 else second for n in range(len(part))}
        else:
            places[here] = second if "norm" in name or name == "ln_f" else first
    [head] = [name for name, part in hf.named_modules() if part is hf.get_output_embeddings()]
    tied = hf.get_output_embeddings().weight is hf.get_input_embeddings().weight
    places[head] = first if tied else second
    return dispatch_model(hf, places, main_device=first)


def on(architecture: str, first: torch.device, second: torch.device, dtype: torch.dtype) -> Model:
    """A random model on these devices, which may be one."""
    hf = hf_model(architecture, layers=2).to(dtype)
    hf = hf.to(first) if first == second else divided(hf, first, second)
    Elsewhere.indices_allowed = first.type == "elsewhere"  # as one GPU allows them, and two don't
    model = Model.from_hf(hf, tokenizer(), architecture, prepend_bos=False)
    attach_random(model)
    return model


def tried(methods: list[Method], model: Model) -> Iterator[tuple[str, torch.Tensor]]:
    """Scores by what they are: of every method those of heads and neurons, of patching those of other kinds too."""
    pairs = tiny_pairs(model, PAIRS[:3])
    for method in methods:
        usual = tuple(kind for kind in DEFAULT_KINDS if kind in method.kinds)
        asked: list[tuple[tuple[str, ...], dict[str, Any]]] = [(usual, {}), (usual, {"replacement": "mean"})]
        if method.name in ("attribution-patching", "activation-patching"):
            asked += [(KINDS, {}), (PLACES, {"by_position": True}), (usual, {"direction": "denoising"})]
        for kinds, options in asked:
            what = f"{method.label} {options}"
            try:
                for kind, scores in method.scores(model, pairs, kinds, **options).items():
                    yield f"{what} of {kind}", scores.values.nan_to_num()
            except BenchmarkError as refused:
                yield f"{what}: {refused}", torch.zeros(0)
    for gradient in (False, True):
        paths = path_effects(model, pairs, ["L0H1", "L0M"], ["L1H3:key", "logits"], gradient=gradient)
        yield f"paths, gradient: {gradient}", torch.tensor(paths.effect)
    circuit = ov_circuit(model, model.n_layers - 1, 1)
    scaled = (circuit.reads * circuit.singular_values[:, None]).cpu()
    yield "an OV circuit", scaled.T @ circuit.writes.cpu()
    yield "the unembedding's bias", unembedding_bias(model).cpu()
    bias = value_bias(model, model.n_layers - 1)
    assert bias.device == model.device
    yield "a value's bias", bias.cpu()


def compared(architecture: str, methods: list[Method], places: dict[str, tuple[Any, Any]], dtype: torch.dtype) -> float:
    """The largest difference between the CPU's scores and those with blocks on other devices."""
    cpu = torch.device("cpu")
    plain = on(architecture, cpu, cpu, dtype)
    want, worst = dict(tried(methods, plain)), 0.0
    for name, (first, second) in places.items():
        model = on(architecture, first, second, dtype)
        assert set(model.devices) == {first, second}
        seen, known = ((one.digest, one.refusals, *(shortcuts(one, [k]) for k in one.kinds)) for one in (model, plain))
        if seen != known:
            raise SystemExit(f"{architecture}, {name}: {seen}\non the CPU: {known}")
        got = dict(tried(methods, model))
        if got.keys() != want.keys():
            raise SystemExit(f"{architecture}, {name}: {sorted(got.keys() ^ want.keys())}")
        apart = {what: float((got[what] - want[what]).abs().max()) for what in want if want[what].numel()}
        most = max(apart, key=apart.__getitem__)
        largest = max(float(scores.abs().max()) for scores in want.values() if scores.numel())
        print(f"{architecture:8} {name}: {len(apart)} arrays apart by {apart[most]:.1e} at most ({most});")
        print(f"         the largest score is {largest:.2f}", flush=True)
        worst = max(worst, apart[most])
    return worst


def loaded(size: float, device: torch.device) -> None:
    """Seconds and memory of loading a large random model twice."""
    import psutil
    from transformers import LlamaConfig, LlamaForCausalLM

    from benchmark.models.loading import load_model

    width = 4096
    layers = max(1, round(size * 2**30 / (2 * 12 * width * width)))
    config = LlamaConfig(
        vocab_size=23, hidden_size=width, intermediate_size=width * 8 // 3, num_hidden_layers=layers,
        num_attention_heads=32, max_position_embeddings=64, dtype="bfloat16",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        with torch.device(device):
            made = LlamaForCausalLM(config).bfloat16()
        made.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        del made
        time.sleep(6)  # until the files are old enough for their digest to be remembered
        for _ in range(2):
            started, before = time.perf_counter(), psutil.Process().memory_info()
            model = load_model(Path(folder), device=str(device), dtype=torch.bfloat16)
            taken = psutil.Process().memory_info().rss - before.rss
            print(
                f"{layers} layers on {model.device}: {time.perf_counter() - started:.1f} s, {taken / 2**30:.1f} GiB of"
            )
            print(" the process's memory, among them pages of the file that can be taken back", flush=True)
            del model


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architectures", default="gpt2,llama")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--ways", default="CPU below,CPU above,no CPU")
    parser.add_argument("--large", type=float, metavar="GB", help="only load a model of that many GiB")
    asked = parser.parse_args()
    if torch.cuda.is_available():
        other, kind = torch.device("cuda", 0), torch.float32
    else:
        other, kind = registered(), torch.float64
    print(f"the other device: {other}")
    if asked.large:
        loaded(asked.large, other)
        raise SystemExit
    chosen = discover().chosen_methods(asked.methods.split(","))
    cpu = torch.device("cpu")
    ways = {"CPU below": (cpu, other), "CPU above": (other, cpu), "no CPU": (other, other)}
    ways = {way: ways[way] for way in asked.ways.split(",")}
    worst = max(compared(layout, chosen, ways, kind) for layout in asked.architectures.split(","))
    if worst > 1e-4:
        raise SystemExit(f"Scores are apart by {worst:.1e}.")
