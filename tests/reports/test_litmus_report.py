"""The whole litmus by its command, once: what the page says, what the report shows, and what it keeps apart."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pandas as pd
import pytest

from benchmark.analysis.litmus import detections, untold
from benchmark.cli import main
from benchmark.models.litmus import LITMUS
from benchmark.running.runner import run
from benchmark.store.folder import Results
from reports.litmus.section import litmus_summary, seen
from reports.report import write_report
from tests.fixtures import undrawn

pytestmark = pytest.mark.usefixtures("loaded_once")

PAGE = Path(__file__).parents[2] / "docs" / "litmus.md"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder that the command fills, and what it prints."""
    folder, printed = tmp_path_factory.mktemp("litmus"), io.StringIO()
    with undrawn(), redirect_stdout(printed):
        assert main(["litmus", "--out", str(folder)]) == 0
    return folder, printed.getvalue()


@pytest.fixture(scope="module")
def out(whole: tuple[Path, str]) -> Path:
    return whole[0]


@pytest.fixture(scope="module")
def data(out: Path) -> pd.DataFrame:
    return detections(Results(out))


def _verdicts(data: pd.DataFrame, litmus: str, method: str) -> dict[str, str]:
    rows = data[(data.litmus == litmus) & (data.method == method)]
    return dict(zip(rows.setting, rows.verdict, strict=True))


def test_the_page_prints_what_the_command_prints(whole: tuple[Path, str]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    tables, words = whole[1].split("\n\nReport: ")[0].rsplit("\n\n", 1)
    assert tables.startswith("Planted models: ")
    assert tables in page
    assert words in page


def test_the_page_says_of_every_litmus_what_is_planted_and_why_methods_part() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, litmus in LITMUS.items():
        assert f"| `{name}` | {litmus.planted} | {litmus.lesson} |" in page


def test_the_table_separates_methods(data: pd.DataFrame) -> None:
    noising, denoising = "noising, counterfactual", "denoising, counterfactual"
    assert _verdicts(data, "saturation", "attribution-patching")[noising] == "misses"
    assert _verdicts(data, "saturation", "integrated-gradients")[noising] == "exact"
    for method, verdict in (
        ("attribution-patching", "misses"), ("integrated-gradients", "misses"),
        ("activation-patching:neurons=0", "exact"),
    ):  # fmt: skip
        assert _verdicts(data, "same-site-interaction", method)[noising] == verdict
    patching = _verdicts(data, "or-gate", "activation-patching:neurons=0")
    assert (patching[noising], patching[denoising]) == ("misses", "finds")
    patching = _verdicts(data, "and-gate", "activation-patching:neurons=0")
    assert (patching[noising], patching[denoising]) == ("finds", "misses")
    zero = _verdicts(data, "off-distribution", "activation-patching:neurons=0")
    assert [zero[f"noising, {replacement}"] for replacement in ("counterfactual", "zero", "mean")] == [
        "exact", "misses", "finds",
    ]  # fmt: skip


def test_every_method_is_exact_on_linear_parallel_and_floors_miss_everywhere(data: pd.DataFrame) -> None:
    parallel = data[(data.litmus == "linear-parallel") & data.setting.str.endswith("counterfactual")]
    floors = parallel.method.isin(["random", "activation-difference", "write-norm"])
    # sizes without signs; and what is written in both prompts counts too
    sized = {"grad-drop": "finds", "hisp": "finds", "direct-logit-attribution": "wrong size"}
    exact = parallel[~floors & ~parallel.method.isin(sized)]
    assert set(exact.verdict) == {"exact"}
    assert exact.error.max() < 1e-5
    for method, verdict in sized.items():
        assert set(parallel[parallel.method == method].verdict) == {verdict}
    assert set(data[data.method.isin(["random", "activation-difference"])].verdict) == {"misses"}


def test_sentences_name_each_method_once_and_its_failures(data: pd.DataFrame) -> None:
    sentences = seen(data)
    assert len(sentences) == data.method.nunique()
    patching = next(s for s in sentences if s.startswith("**activation-patching:neurons=0**"))
    assert "or-gate (noising)" in patching
    assert "and-gate (denoising)" in patching
    assert "backup-head," in patching  # in both directions: no direction named


def test_the_report_has_the_picture_the_tables_and_the_numbers(out: Path, data: pd.DataFrame) -> None:
    report = json.loads((out / "report" / "report.json").read_text(encoding="utf-8"))
    stems = {block["stem"]: block for block in report["blocks"] if "stem" in block}
    assert {"litmus", "litmus-summary", "litmus-lessons", "litmus-noising-counterfactual"} <= set(stems)
    assert len(stems["litmus"]["rows"]) == len(data)
    summary = pd.read_csv(out / "report" / "tables" / "litmus-summary.csv").set_index(["setting", "method"])
    row = summary.loc[("noising, counterfactual", "attribution-patching")]
    counted = data[(data.setting == "noising, counterfactual") & (data.method == "attribution-patching")]
    assert row["misses"] == (counted.verdict == "misses").sum()
    assert row["auroc"] == pytest.approx(counted.auroc.mean())
    assert row[["exact", "finds", "wrong size", "wrong sign", "misses"]].sum() == len(LITMUS)


@pytest.mark.usefixtures("without_report")
def test_a_second_run_computes_nothing(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*/*/scores.safetensors")}
    assert main(["litmus", "saturation", "--out", str(out)]) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*/*/scores.safetensors")} == before


@pytest.mark.usefixtures("without_pictures")
def test_planted_models_stay_out_of_the_agreement_of_real_ones(tmp_path: Path) -> None:
    methods = ("activation-patching:neurons=0", "attribution-patching")
    run("litmus/saturation", tmp_path, tasks=("litmus/saturation",), methods=methods, components=("head",), pairs=4)
    results = run("pocket", tmp_path, tasks=("ioi",), methods=methods, components=("head",), pairs=4)
    assert {cell.task for cell in untold(results).cells} == {"ioi"}
    write_report(results, tmp_path / "report")
    assert set(pd.read_csv(tmp_path / "report" / "agreement.csv").task) == {"ioi"}
    page = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "Litmus: what methods can't see" in page
    assert "How sure is the agreement?" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["or-gait"], "There is no litmus 'or-gait'"),
        (["--methods", "captum-integrated"], "There is no method 'captum-integrated'"),
    ],
)
def test_wrong_input_is_refused_and_nothing_written(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["litmus", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


PATCHING = ("activation-patching:neurons=0", "attribution-patching")


def _saturation(out: Path, **options: object) -> Results:
    asked = {"tasks": ("litmus/saturation",), "methods": PATCHING, "pairs": 4} | options
    return run("litmus/saturation", out, **asked)


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("other", [{"pairs": 2}, {"metric": "prob_diff"}, {"split": "discovery"}])
def test_another_setting_of_a_litmus_in_the_same_folder_is_a_litmus_of_its_own(other: dict, tmp_path: Path) -> None:
    _saturation(tmp_path)
    results = _saturation(tmp_path, **other)
    found = detections(results)
    assert found.litmus.nunique() == 2
    assert all(name.startswith("saturation, ") for name in found.litmus)
    assert litmus_summary(results).count("saturation, ") >= 2
    for again in ("once", "twice"):
        write_report(Results(tmp_path), tmp_path / again)
    for name in ("report.html", "report.json", "figures/litmus.png"):
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "twice" / name).read_bytes(), name


@pytest.mark.usefixtures("without_pictures")
def test_another_seed_gives_rows_of_its_own(tmp_path: Path) -> None:
    _saturation(tmp_path, methods=("random",))
    results = _saturation(tmp_path, methods=("random",), seed=1)
    found = detections(results)
    assert len(found) == 2
    assert not found.duplicated(["litmus", "method", "setting"]).any()
    write_report(results, tmp_path / "report")


def test_known_effects_are_those_of_the_metric_and_the_model_that_were_planted(tmp_path: Path) -> None:
    _saturation(tmp_path, metric="prob_diff")
    results = run("litmus/or-gate", tmp_path, tasks=("litmus/saturation",), methods=PATCHING, pairs=4)
    found = detections(results)
    assert set(found[found.method == PATCHING[0]].verdict) == {"finds"}  # of prob_diff, no sizes are known
    assert {cell.model for cell in untold(results).cells} == {"litmus/or-gate"}


def test_a_sample_of_neurons_is_not_judged(tmp_path: Path) -> None:
    sampled = ("activation-patching:neurons=1",)
    results = run("litmus/distributed", tmp_path, tasks=("litmus/distributed",), methods=sampled, pairs=2)
    assert set(detections(results).verdict) == {"not judged"}
    assert "not judged everywhere" in " ".join(seen(detections(results)))


@pytest.mark.usefixtures("without_pictures")
def test_what_failed_stands_in_the_table(tmp_path: Path) -> None:
    plugin = tmp_path / "crashes.py"
    plugin.write_text(
        "from dataclasses import dataclass\n"
        "from methods.attribution_patching import AttributionPatching\n"
        "@dataclass(frozen=True)\n"
        "class Crashes(AttributionPatching):\n"
        "    name = 'crashes'\n"
        "    def attribute(self, model, batch, request):\n"
        "        raise ValueError('no')\n"
    )
    asked = ["litmus", "saturation", "--plugin", str(plugin), "--methods", "crashes,attribution-patching"]
    assert main([*asked, "--out", str(tmp_path / "out")]) == 1
    found = detections(Results(tmp_path / "out"))
    assert set(found[found.method == "crashes"].verdict) == {"failed"}
    assert any("**crashes**: failed everywhere" in sentence for sentence in seen(found))


def test_a_dry_run_says_what_would_be_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["litmus", "saturation", "--dry-run", "--out", str(tmp_path / "out")]) == 0
    assert "litmus/saturation: 8 pairs x 20 methods" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
