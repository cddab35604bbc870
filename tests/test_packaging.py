"""The wheel works where no checkout is, and nothing of ours shadows Hugging Face's `datasets`."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob("*.whl"))


def test_a_wheel_carries_its_datasets_inside_the_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "benchmark/_datasets/ioi.csv" in names
    assert "benchmark/pocket/model/model.safetensors" in names
    assert len([name for name in names if name.startswith("benchmark/pocket/checkpoints/")]) >= 8
    assert not [name for name in names if name.startswith(("datasets/", "tests/"))]


def test_an_installed_wheel_loads_a_tasks_dataset_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(site)]
    subprocess.run([*command, str(wheel)], check=True)
    program = (
        "import benchmark, datasets; t = benchmark.load_task('ioi'); "
        "print(benchmark.__file__, t.dataset_path(), len(t.rows()), datasets.__file__)"
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=empty, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(site)},
    )  # fmt: skip
    package, dataset, rows, hugging_face = run.stdout.split()
    assert Path(package).is_relative_to(site)
    assert Path(dataset) == site / "benchmark" / "_datasets" / "ioi.csv"
    assert int(rows) >= 1000
    assert not Path(hugging_face).is_relative_to(site)


def test_import_datasets_is_still_hugging_faces() -> None:
    import datasets

    assert hasattr(datasets, "load_dataset")
    assert not (ROOT / "datasets" / "__init__.py").exists()


def test_importing_the_public_face_is_light() -> None:
    program = "import sys, benchmark; print('torch' in sys.modules, 'transformer_lens' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


def test_every_public_name_can_be_imported() -> None:
    import benchmark

    assert all(getattr(benchmark, name) for name in benchmark.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_modl'"):
        benchmark.load_modl  # noqa: B018
