"""Forms with files (``multipart/form-data``, RFC 7578), whole in memory and bounded. Pure.

Browsers write one strict form of it, so anything else is refused. The work is done by the package
``multipart``: its parser is linear, limits headers and parts, and can stream.
"""

from dataclasses import dataclass

from multipart import (
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,
)

from santepacs.errors import Malformed

FILES_TYPE = "multipart/form-data"
MAXIMUM_PARTS = 100
MAXIMUM_NAME = 255
_BOUNDARY_LENGTH = 70  # RFC 2046 5.1.1


@dataclass(frozen=True, slots=True)
class File:
    """A file that was chosen. `name` is what the browser calls it: to be shown, never a path."""

    name: str
    content: bytes


def content_type(header: str) -> tuple[str, str]:
    """The media type of a Content-Type, and its boundary where it has one."""
    kind, options = parse_options_header(header[:500])
    return kind, options.get("boundary", "")


def parse_parts(body: bytes, boundary: str) -> tuple[dict[str, str], dict[str, File]]:
    """The fields and the files of a form, each at most once; a file that was not chosen is absent.

    Raises Malformed for what no browser sends.
    """
    fields: dict[str, str] = {}
    files: dict[str, File] = {}
    if not 0 < len(boundary) <= _BOUNDARY_LENGTH or not boundary.isascii():
        raise Malformed("the form could not be read")
    try:
        for name, file_name, content in _parts(body, boundary):
            if name in fields or name in files:
                raise Malformed("a field of the form was given twice")
            if file_name is None:
                fields[name] = content.decode("utf-8")
            elif file_name or content:
                files[name] = File(file_name[:MAXIMUM_NAME], content)
    except (MultipartError, UnicodeDecodeError):
        raise Malformed("the form could not be read") from None
    if any("\0" in text for pair in fields.items() for text in pair):
        raise Malformed("the form holds a character that no text has")
    return fields, files


def _parts(body: bytes, boundary: str) -> list[tuple[str, str | None, bytes]]:
    parts: list[tuple[MultipartSegment, list[bytes]]] = []
    with PushMultipartParser(
        boundary, len(body), max_segment_count=MAXIMUM_PARTS, strict=True
    ) as parser:
        for event in parser.parse(body):
            if isinstance(event, MultipartSegment):
                parts.append((event, []))
            elif event is not None:
                parts[-1][1].append(event)
    return [(part.name or "", part.filename, b"".join(content)) for part, content in parts]
