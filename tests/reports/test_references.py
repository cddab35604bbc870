"""Claims about citations: every plugin's source is in the bibliography, and a stranger's is treated kindly."""

import re

import pytest

from benchmark.running.plugins import discover
from reports.writing.references import known, references

REGISTRY = discover()
NO_SOURCE = ("random", "activation-difference", "write-norm", "external")  # floors, and scores from elsewhere


@pytest.mark.parametrize("task", REGISTRY.tasks.values(), ids=lambda task: task.name)
def test_every_task_names_entries_of_the_bibliography(task) -> None:
    assert references(task.citation)
    assert all(source in known().values() for source in references(task.citation))


@pytest.mark.parametrize("method", REGISTRY.methods.values(), ids=lambda method: method.name)
def test_every_method_that_has_a_source_names_entries_of_the_bibliography(method) -> None:
    assert bool(references(method.citation)) == (method.name not in NO_SOURCE)
    assert all(source in known().values() for source in references(method.citation))


def test_every_entry_of_the_bibliography_can_be_found_by_a_reader() -> None:
    assert len(known()) >= 10
    for key, source in known().items():
        assert source.entry.count("{") == source.entry.count("}")
        assert re.fullmatch(r"@\w+\{" + key + r",\n(  \w+ = \{.*\},\n)+\}", source.entry)
        assert re.search(r"^.+ \((19|20)\d\d\)\. .+\. (arXiv:\d{4}\.\d{5}|doi:10\.\S+|https://\S+)$", source.line), key


def test_a_line_names_up_to_three_authors() -> None:
    assert known()["nanda2023"].line.startswith("Neel Nanda (2023). Attribution Patching: Activation Patching At")
    assert known()["zhang2024"].line.startswith("Fred Zhang and Neel Nanda (2024). Towards")
    assert known()["wang2022"].line.startswith("Kevin Ro Wang et al. (2023). Interpretability in the Wild")


def test_several_keys_are_several_sources() -> None:
    assert references("hanna2024; wang2022") == [known()["hanna2024"], known()["wang2022"]]
    assert references("") == []


def test_words_become_an_entry_of_their_own() -> None:
    (source,) = references("Doe & Roe 2031, 100% mine_too")
    assert source.line == "Doe & Roe 2031, 100% mine_too"
    assert source.entry == "@misc{doe-roe-2031-100,\n  note = {Doe \\& Roe 2031, 100\\% mine\\_too},\n}"


@pytest.mark.parametrize(
    "entry",
    [
        '@article{doe2031, title = "A Title", author = {Doe, Jane and Roe, Rick}, year = 2031, doi = {10.1/x}}',
        "@article{doe2031,\n title={A {T}itle},\n author={Doe, Jane and Rick Roe},\n year={2031},\n doi={10.1/x}\n}",
    ],
)
def test_a_whole_entry_is_kept_as_it_is(entry: str) -> None:
    (source,) = references(f"\n{entry}\n")
    assert (source.key, source.entry) == ("doe2031", entry)
    assert source.line == "Jane Doe and Rick Roe (2031). A Title. doi:10.1/x"


def test_two_entries_and_an_unknown_key() -> None:
    assert [source.key for source in references("@misc{a,title={x}}\n@misc{b,title={y}}")] == ["a", "b"]
    assert references("doe2031")[0].line == "doe2031"
