"""A report as Markdown: `report.md`, which shows its pictures from `figures/`."""

from reports.writing.blocks import Block, Bullets, Heading, Leaf, Paragraph, Picture, Table, flat


def markdown(blocks: list[Block]) -> str:
    return "\n\n".join(map(_text, flat(blocks))) + "\n"


def _text(block: Leaf) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {block.text}"
        case Paragraph():
            return block.text
        case Bullets():
            return "\n".join(f"- {item}" for item in block.items)
        case Picture():
            return f"![{block.stem}](figures/{block.stem}.png)\n\n*{_said(block)}*"
        case Table():
            return f"{_said(block)}\n\n{_pipe_table(block)}"


def _said(block: Table | Picture) -> str:
    return f"{block.caption} {block.note}".rstrip()


def _pipe_table(table: Table) -> str:
    if table.shown.empty:
        return "none"
    lines = [
        list(map(_escaped, table.shown.columns)),
        ["---:" if numeric else "---" for numeric in table.numeric()],
        *(list(map(_escaped, row)) for row in table.shown.itertuples(index=False)),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _escaped(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
