"""README.md of the chart: its template with a table of values.yaml put in."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MARK = "<!-- values -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One documented value."""

    key: str
    default: Any
    text: str


class UndocumentedError(Exception):
    """A value in values.yaml has no `# --` comment."""


def readme(chart: Path) -> str:
    """The file's text.

    Raises:
        UndocumentedError: with the key.
    """
    template = (chart / "README.md.tmpl").read_text(encoding="utf-8")
    lines = ["| key | default | |", "|---|---|---|"]
    for row in rows((chart / "values.yaml").read_text(encoding="utf-8")):
        default = json.dumps(row.default, ensure_ascii=False)
        lines.append(f"| `{row.key}` | `{default}` | {row.text} |")
    return template.replace(MARK, "\n".join(lines))


def rows(text: str) -> Iterator[Row]:
    """Of each value with a comment, in the file's order; a documented map is one row."""
    lines = text.splitlines()
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    yield from _rows(root, "", lines)


def _rows(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Row]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        comment = _comment_above(key.start_mark.line, lines)
        if comment:
            yield Row(name, yaml.safe_load(yaml.serialize(value)), comment)
        elif isinstance(value, yaml.MappingNode) and value.value and not value.flow_style:
            yield from _rows(value, f"{name}.", lines)
        else:
            raise UndocumentedError(name)


def _comment_above(line: int, lines: list[str]) -> str:
    """The block of comments that begins with `# --` and ends right above `line`."""
    block: list[str] = []
    while line > 0 and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        block.insert(0, lines[line].lstrip().removeprefix("#").strip())
        if block[0].startswith("-- "):
            return " ".join(block).removeprefix("-- ")
    return ""
