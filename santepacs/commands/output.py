"""What commands print and read: tables, complaints, small text files.

Results go to stdout, one line for each thing and the same columns at every call, so that scripts
can read them; everything else goes to stderr.
"""

import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path

from santepacs.errors import Malformed
from santepacs.logs import one_line

MAXIMUM_FILE = 1_000_000  # bytes of a settings or mapping file
MOMENT = "%Y-%m-%dT%H:%M:%SZ"  # of UTC
_LONGEST_CELL = 500  # characters


def tell(text: str) -> None:
    """One line for the person, beside the result."""
    print(f"santepacs: {one_line(text, 1000)}", file=sys.stderr)


def table(rows: Iterable[Sequence[object]]) -> str:
    """Rows as aligned columns; ``-`` stands for an empty cell."""
    cells = [[one_line(cell, _LONGEST_CELL) or "-" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        + "\n"
        for row in cells
    )


def print_table(rows: Iterable[Sequence[object]]) -> None:
    """Print rows as aligned columns."""
    print(table(rows), end="")


def read_text(path: str) -> str:
    """The text of a small file. Raises Malformed when it is no such thing."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAXIMUM_FILE + 1)
    except OSError as error:
        raise Malformed(f"cannot read {path}: {error.strerror}") from None
    if len(data) > MAXIMUM_FILE:
        raise Malformed(f"{path} is larger than {MAXIMUM_FILE} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Malformed(f"{path} is not UTF-8 text") from None


def write_text(path: str | None, text: str) -> None:
    """Write `text` to a file, or to stdout. Raises Malformed when that is not possible."""
    if path is None:
        print(text, end="")
        return
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Malformed(f"cannot write {path}: {error.strerror}") from None


def write_bytes(path: str | None, content: bytes) -> None:
    """Write `content` to a file, or to stdout. Raises Malformed when that is not possible."""
    if path is None:
        sys.stdout.buffer.write(content)
        return
    try:
        Path(path).write_bytes(content)
    except OSError as error:
        raise Malformed(f"cannot write {path}: {error.strerror}") from None


def describe_bug(error: Exception) -> str:
    """An error that nobody foresaw, without its text: that may hold anything."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"internal error: {type(error).__name__} in {Path(place.filename).name}:{place.lineno}"
