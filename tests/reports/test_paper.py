"""Claims about what a report has for a paper: LaTeX compiles whatever the names, captions are short, tables fit."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from benchmark.analysis.comparisons import compared, primary
from benchmark.store.folder import Results, read_cell, record_run, write_cell
from reports.agreement.compact import compact_tables
from reports.report import write_report
from reports.writing.blocks import Table
from reports.writing.latex import PACKAGES, escaped, latex, said
from tests.fixtures import undrawn
from tests.reports.test_pages import CITED, add_full_cell
from tests.reports.test_reports import METHODS, contents_of

needs_latex = pytest.mark.skipif(
    not shutil.which("pdflatex")
    or subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True, check=False).returncode != 0,
    reason="no pdflatex with booktabs is installed here (Debian: texlive-latex-recommended)",
)
pytestmark = pytest.mark.filterwarnings("ignore:Glyph")  # the pictures' font lacks one of these signs
ODD = r"[odd] a_b--50% & #1 {x} $y$ \z ~ ^ <c> |d| −1 ≤ é Ł 目 `e` ''f'' *"
COLUMN = 234.0  # points, of two: 3.25 inches


def compiled(folder: Path, name: str, *more: str) -> str:
    """The log of pdflatex, which stops at the first error."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", *more, name]
    run = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    log = (folder / f"{name}.log").read_text(errors="replace")
    assert run.returncode == 0, "\n".join(re.findall(r"(?m)^!.*\n(?:.*\n){0,6}", log))
    return re.sub(r"(?<=.{79})\n", "", log)


def document(folder: Path, body: str, options: str = "") -> str:
    packages = rf"\usepackage{{{','.join(PACKAGES)}}}"
    lines = [rf"\documentclass[{options}]{{article}}", packages, r"\begin{document}", body, r"\end{document}"]
    (folder / "document.tex").write_text("\n".join(lines), encoding="utf-8")
    return compiled(folder, "document")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a task, a title, a model and methods with odd names, in two replacements; its figures' PDFs are blank."""
    folder = tmp_path_factory.mktemp("results")
    record_run(folder, {"asked": {}, "resolved": {}})
    for name in METHODS:
        add_full_cell(folder, name)
    for cell in [read_cell(path.parent) for path in folder.glob("cells/*/*/*/cell.json")]:
        shutil.rmtree(cell.folder)
        method = cell.key.method
        key = replace(
            cell.key, method=method if method.reference else replace(method, label=f"{method.name} {ODD}"),
            task=replace(cell.key.task, name=f"task {ODD}"), model=replace(cell.key.model, name=f"model {ODD}"),
        )  # fmt: skip
        cited = CITED | {"method": ODD}
        write_cell(folder, replace(cell, key=key, task_title=ODD, citations=cited, caveats=(f"Beware of {ODD}.",)))
    with undrawn():
        out = write_report(Results(folder), folder / "report").parent
    for path in (out / "figures").glob("*.pdf"):
        Figure((2, 1)).savefig(path)
    return out


@needs_latex
def test_the_paper_includes_every_table_and_figure_and_compiles(report: Path) -> None:
    compiled(report, "paper")
    subprocess.run(["bibtex", "paper"], cwd=report, capture_output=True, check=True)
    log = compiled(report, "paper")
    labels = set(re.findall(r"\\newlabel\{(\w+:[^}]+)\}", (report / "paper.aux").read_text(errors="replace")))
    stems = {f"tab:{path.stem}" for path in report.glob("tables/*.tex")}
    figures = {f"fig:{path.stem}" for path in report.glob("figures/*.png")}
    assert labels == stems | figures
    assert len(stems) > 8
    assert len(figures) > 4
    assert "Missing character" not in log
    assert "odd-a-b-50" in (report / "paper.bbl").read_text()


@needs_latex
def test_every_table_compiles_by_itself_in_a_two_column_paper_and_runs_over_no_edge(report: Path) -> None:
    files = sorted(report.glob("tables/*.tex"))
    assert all(file.read_text().startswith(f"% needs \\usepackage{{{','.join(PACKAGES)}}}\n") for file in files)
    body = "\n".join(rf"\input{{tables/{file.name}}}\clearpage" for file in files)
    for options in ("twocolumn", ""):
        log = document(report, body, options)
        assert "Missing character" not in log
        assert "Overfull" not in log


@needs_latex
def test_a_compact_table_of_many_methods_and_tasks_is_higher_than_no_page(tmp_path: Path) -> None:
    methods = {"method": [f"method-{i}" for i in range(30)]}
    shown = pd.DataFrame(methods | {f"task-{i}": [f"0.{i}2 [0.01, 0.15]"] * 30 for i in range(9)})
    text = latex(Table("many", "Agreement.", "Notes.", shown, shown, compact=True))
    assert "Float too large" not in document(tmp_path, text)
    assert text.count("[0.01, 0.15]") == 270
    assert text.count(r"\label") == text.count("Notes.") == 1


@needs_latex
def test_a_long_word_is_broken_where_it_would_run_over_its_column(tmp_path: Path) -> None:
    address = "https://example.org/" + "-".join(["page"] * 20)
    shown = pd.DataFrame({"what": ["source", "digest"], "value": [f"See {address}.", "0123456789abcdef" * 6]})
    text = latex(Table("long-words", "Sources.", "", shown, shown))
    assert "Overfull" not in document(tmp_path, text, "twocolumn")
    assert address in text.replace(r"\allowbreak{}", "")


@needs_latex
def test_every_character_of_a_name_compiles(tmp_path: Path) -> None:
    signs = [chr(number) for number in [*range(0x250), *range(0x300, 0x380), *range(0x2000, 0x2300), 0x76EE, 0x1F600]]
    shown = pd.DataFrame({"[*]": [f"{sign}{sign}x" for sign in signs]})
    log = document(tmp_path, latex(Table("signs", "Signs.", "", shown, shown)))
    assert "Missing character" not in log
    assert escaped("ő Ł 目 a--b § ≠") == r"\H{o} \L{} [U+76EE] a-{}-b \S{} \ensuremath{\neq}"


@needs_latex
def test_the_compact_table_fits_into_one_of_two_columns_as_it_is(tmp_path: Path) -> None:
    tasks = ["capital-country", "gender-bias", "greater-than", "hypernymy", "ioi", "professions-anti", "sva"]
    methods = ["attribution-patching", "integrated-gradients:path=joint", "activation-difference (sizes)", "random"]
    shown = pd.DataFrame({"method": methods} | {task: ["-0.12 [-0.37, 0.15]"] * len(methods) for task in tasks})
    text = latex(Table("small", "Agreement.", "Notes.", shown, shown, compact=True))
    body = text.replace(r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%", r"\sbox0{%")
    log = document(tmp_path, body.replace(r"\end{tabular}}", r"\end{tabular}}\typeout{width \the\wd0}"), "twocolumn")
    width = re.search(r"width ([\d.]+)pt", log)
    assert width is not None
    assert 0.5 * COLUMN < float(width[1]) <= COLUMN
    rows = [line for line in text.splitlines() if line.endswith(r"\\[-1pt]")]
    assert len(rows) == 3 * len(methods)
    assert sum(row.count(r"\ensuremath{-}0.12") for row in rows) == len(methods) * len(tasks)


def test_the_compact_table_holds_the_primary_statistic_of_every_method_and_task(report: Path) -> None:
    [part] = compared(Results(report.parent))
    [table] = compact_tables([part])
    assert len(table.shown) == len(part.against_reference) == len(METHODS) - 1
    for method, _, rows in part.against_reference:
        main = primary(rows)
        name = method.label + " (sizes)" * (not method.signed)
        cell = table.shown.set_index("method").loc[name].iloc[0]
        assert cell == f"{main['value']:.2f} [{main['low']:.2f}, {main['high']:.2f}]"
    stored = pd.read_csv(report / "tables" / "all-head-compact.csv")
    assert list(stored.value) == pytest.approx(list(table.data.value))


def test_captions_are_short_and_what_follows_stands_in_the_notes(report: Path) -> None:
    [odd, _] = said(Table("", ODD, "", pd.DataFrame(), pd.DataFrame()))
    for block in contents_of(Results(report.parent)):
        if not hasattr(block, "caption"):
            continue
        caption, notes = said(block)
        assert len(caption.replace(odd, "")) < 160
        words = re.findall(r"\w+", caption + " ".join(re.sub(r"\\par.*?raggedright ", "", line) for line in notes))
        whole = re.findall(r"\w+", escaped(f"{block.caption} {block.facts}".replace("**", "").replace("`", "")))
        marks = {"texttt", "textbf", "textasciigrave"}
        assert [w.lower() for w in words if w not in marks] == [w.lower() for w in whole if w not in marks]


def test_a_long_table_goes_on_in_further_floats_of_one_number() -> None:
    shown = pd.DataFrame({"name": [f"row {i}" for i in range(100)]})
    text = latex(Table("long", "Many rows.", "Notes.", shown, shown))
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    assert text.count(r"\addtocounter{table}{-1}") == text.count("(continued)") == 2
    assert text.count(r"\label") == text.count("Notes.") == 1
    assert re.findall(r"row (\d+) ", text) == [str(i) for i in range(100)]


def test_a_caption_is_cut_at_no_sign_inside_brackets_or_marks() -> None:
    shown = pd.DataFrame({"a": ["1"]})
    table = Table("t", "The top (k: 5) of `x: y`, **a. b**, and all: the rest. And more.", "Facts.", shown, shown)
    caption, [notes] = said(table)
    assert caption == r"The top (k: 5) of \texttt{x: y}, \textbf{a. b}, and all."
    assert notes.endswith("The rest. And more. Facts.}")
    assert said(Table("t", "No more to say.", "", shown, shown)) == ("No more to say.", [])
