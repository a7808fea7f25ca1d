"""A comparison of two messages as one HTML file that needs nothing else and runs nothing."""

from collections.abc import Iterable, Sequence
from html import escape

from santepacs.hl7.compare import Cell, SegmentComparison, Table, Verdict, differences, tables

_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #1c1e21; }
table { border-collapse: collapse; margin: 0 0 1.5em; }
th, td { border: 1px solid #c5cad1; padding: 2px 8px; text-align: left; vertical-align: top; }
td { font-family: ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
.different { background: #ffe9a8; }
.only-first, .only-second { background: #ffd3cc; }
.ignored { color: #6b7178; }
"""
_WORDS = {
    Verdict.SAME: "same",
    Verdict.DIFFERENT: "different",
    Verdict.ONLY_FIRST: "only in the first",
    Verdict.ONLY_SECOND: "only in the second",
}


def html(comparisons: Sequence[SegmentComparison], first: str, second: str) -> str:
    """The file. `first` and `second`: what the messages are called."""
    count = len(differences(comparisons))
    title = escape(f"{first} and {second}")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
        f"<p>{count} of {len(comparisons)} segments differ.</p>\n"
        + "".join(_table(table, first, second) for table in tables(comparisons))
        + "</body>\n</html>\n"
    )


def _table(table: Table, first: str, second: str) -> str:
    header = "".join(f"<th>{escape(name)}</th>" for name in table.header)
    return (
        f"<h2>{escape(table.name)}: {_WORDS[table.verdict]}</h2>\n<table>\n"
        f"<tr><th></th>{header}</tr>\n{_row(first, table.first)}{_row(second, table.second)}"
        "</table>\n"
    )


def _row(name: str, cells: Iterable[Cell]) -> str:
    columns = "".join(
        f'<td class="{cell.verdict.replace(" ", "-")}">{escape(cell.text)}</td>' for cell in cells
    )
    return f"<tr><th>{escape(name)}</th>{columns}</tr>\n"
