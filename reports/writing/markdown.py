"""A report as Markdown: `report.md`, which shows its pictures from `figures/`."""

from reports.writing.blocks import Block, Bullets, Heading, Paragraph, Picture, Table


def markdown(blocks: list[Block]) -> str:
    return "\n\n".join(map(_text, blocks)) + "\n"


def _text(block: Block) -> str:
    match block:
        case Heading():
            return f"{'#' * block.level} {block.text}"
        case Paragraph():
            return block.text
        case Bullets():
            return "\n".join(f"- {item}" for item in block.items)
        case Picture():
            return f"![{block.caption}](figures/{block.stem}.png)\n\n*{block.caption} {block.facts}*"
        case Table():
            return f"{block.caption} {block.facts}".rstrip() + f"\n\n{_pipe_table(block)}"


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
