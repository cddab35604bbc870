"""Claims about how blocks are written as Markdown, HTML and LaTeX."""

import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from reports.writing.blocks import Bullets, Heading, Paragraph, Table, marked, number, with_interval
from reports.writing.html import html
from reports.writing.latex import escaped, latex
from reports.writing.markdown import markdown


def table(**columns: list[str]) -> Table:
    shown = pd.DataFrame(columns)
    return Table("some-table", "Caption of **one** table.", "Its facts.", shown, shown)


class Cells(HTMLParser):
    """The text of every table cell of a page, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("td", "th"):
            self.inside = True
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells[-1] += data


HOSTILE = "a|b <script>alert(1)</script> & 50% $x_1$ {y} \\z ~ ^ #"


def test_a_markdown_cell_cannot_break_its_table() -> None:
    text = markdown([table(**{"a|b": ["x|y"], "c": ["1\n2"]})])
    assert text.splitlines()[2:] == ["| a\\|b | c |", "| --- | ---: |", "| x\\|y | 1 2 |"]


def test_html_shows_every_character_as_it_is() -> None:
    page = html([Heading("Report", 1), table(method=[HOSTILE], n=["1"])], {})
    assert Cells(page).cells == ["method", "n", HOSTILE, "1"]
    assert page.count("<script>") == 1


def test_a_page_asks_nothing_of_the_network() -> None:
    page = html([Heading("Report", 1), Heading("Part", 2), Paragraph("text"), table(a=["b"])], {})
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!#|data:|URL\.createObjectURL)[^\"'\s)]+", page)
    assert "http" not in page
    assert "import" not in page


def test_contents_link_to_headings_that_are_there() -> None:
    page = html([Heading("Report", 1), Heading("One", 2), Heading("Heads", 3), Heading("Two", 2)], {})
    links = re.findall(r'href="#([^"]+)"', page)
    assert len(links) == 2
    assert [re.search(rf'<h2 id="{link}">(.*?)</h2>', page)[1] for link in links] == ["One", "Two"]  # type: ignore[index]


def test_marks_become_tags_and_nothing_else_does() -> None:
    page = html([Heading("Report", 1), Paragraph("**bold** `code` <i>"), Bullets(("**b**",))], {})
    assert "<p><strong>bold</strong> <code>code</code> &lt;i&gt;</p>" in page
    assert "<li><strong>b</strong></li>" in page


def test_latex_escapes_every_special_character() -> None:
    text = latex(table(method=[HOSTILE], n=["1"]))
    row = next(line for line in text.splitlines() if "a\\textbar" in line)
    bare = row.removeprefix(r"{\raggedright ").removesuffix(r"\par} & 1 \\")
    for command in (r"\textbar{}", r"\textless{}", r"\textgreater{}", r"\textbackslash{}", r"\textasciitilde{}"):
        assert command in bare
    rest = re.sub(r"\\(?:text\w+|allowbreak)\{\}|\\[&%$#_{}]", "", bare)
    assert not set(rest) & set("&%$#_{}~^\\")


def test_latex_tables_have_booktabs_rules_a_caption_and_a_label() -> None:
    text = latex(table(method=["a", "b"], value=["0.95 [0.91, 0.98]", "-"], words=["x" * 60, "y"]))
    for command in (r"\toprule", r"\midrule", r"\bottomrule", r"\caption{Caption of \textbf{one} table.}"):
        assert text.count(command) == 1
    assert text.index(r"\bottomrule") < text.index("Its facts.")
    assert r"\label{tab:some-table}" in text
    assert r"\begin{tabular}{lrp{0.5\linewidth}}" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_columns_of_numbers_stand_to_the_right() -> None:
    shown = table(words=["x", "1"], numbers=["-0.2", "-"], intervals=["0.1 [0, 1]", "3 of 4"])
    assert shown.numeric() == [False, True, True]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("plain", [("plain", "plain")]),
        (
            "2 ** 3 and a `tick",
            [("plain", "2 "), ("plain", "**"), ("plain", " 3 and a "), ("plain", "`"), ("plain", "tick")],
        ),
        ("**a**`b`", [("strong", "a"), ("code", "b")]),
    ],
)
def test_unpaired_marks_stand_for_themselves(text: str, pieces: list[tuple[str, str]]) -> None:
    assert list(marked(text)) == pieces


def test_numbers_without_a_value_are_dashes() -> None:
    assert [number(value) for value in (None, float("nan"), pd.NA, -0.0001)] == ["-", "-", "-", "0.00"]
    assert with_interval(0.5, float("nan"), float("nan")) == "0.50"
    assert with_interval(0.5, 0.4, 0.6) == "0.50 [0.40, 0.60]"


def test_text_that_is_no_text_is_escaped_all_the_same() -> None:
    assert escaped(5) == "5"
