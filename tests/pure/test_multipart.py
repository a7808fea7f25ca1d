"""Forms with files: what browsers send is read, anything else refused quickly."""

import time

import pytest

from santepacs.errors import Malformed
from santepacs.web.multipart import MAXIMUM_NAME, File, content_type, parse_parts


def body(*parts, boundary="x"):
    marks = [f"--{boundary}\r\n".encode() + part + b"\r\n" for part in parts]
    return b"".join(marks) + f"--{boundary}--\r\n".encode()


def part(name, content, file_name=None, header=b""):
    file_part = "" if file_name is None else f'; filename="{file_name}"'
    disposition = f'form-data; name="{name}"{file_part}'
    return f"Content-Disposition: {disposition}\r\n".encode() + header + b"\r\n" + content


def test_fields_and_files_are_told_apart():
    content = bytes(range(256)) * 10 + b"\r\n--y\r\n"
    sent = body(
        part("proof", b"p"), part("text", "ä\r\nb".encode()), part("file", content, "a.hl7")
    )
    fields, files = parse_parts(sent, "x")
    assert fields == {"proof": "p", "text": "ä\r\nb"}
    assert files == {"file": File("a.hl7", content)}


def test_a_file_that_was_not_chosen_is_absent():
    assert parse_parts(body(part("file", b"", "")), "x") == ({}, {})


@pytest.mark.parametrize("name", ["../../etc/passwd", "naïve.hl7", "a%22b.hl7", "x" * 3000])
def test_a_file_name_is_kept_for_showing_and_short(name):
    _, files = parse_parts(body(part("file", b"1", name)), "x")
    assert 0 < len(files["file"].name) <= MAXIMUM_NAME


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("multipart/form-data; boundary=abc", ("multipart/form-data", "abc")),
        ('Multipart/Form-Data; boundary="a b"', ("multipart/form-data", "a b")),
        ("multipart/form-data", ("multipart/form-data", "")),
        ("application/x-www-form-urlencoded", ("application/x-www-form-urlencoded", "")),
        ("", ("", "")), (";" * 10_000, ("", "")),
    ],
)  # fmt: skip
def test_the_content_type(header, expected):
    assert content_type(header) == expected


@pytest.mark.parametrize(
    ("sent", "boundary"),
    [
        (b"", "x"), (b"--x--", ""), (b"--x--", "é"), (b"--x--", "y"), (b"junk" + body(), "x"),
        (body(part("a", b"1"))[:-6], "x"), (body(part("a", b"1"), part("a", b"2")), "x"),
        (body(part("a", b"\xff")), "x"), (body(part("a", b"\0")), "x"), (body(b"\r\nno name"), "x"),
        (body(part("a", b"1", header=b"X: " + b"h" * 5000 + b"\r\n")), "x"),
        (body(part("a", b"1", header=b"X: y\r\n" * 20)), "x"),
        (body(part("a", b"1", header=b"Content-Length: 9\r\n")), "x"),
        (body(*(part(f"a{n}", b"") for n in range(101))), "x"),
        (body(part("a", b"1")).replace(b"\r\n", b"\n"), "x"), (b"--x\r\n" * 200_000, "x"),
        (b"\r\n--x" * 300_000, "x"), (b"\r" * 2_000_000, "x"), (b"--" + b"x" * 71, "x" * 71),
    ],
)  # fmt: skip
def test_what_no_browser_sends_is_refused_quickly(sent, boundary):
    began = time.monotonic()
    with pytest.raises(Malformed):
        parse_parts(sent, boundary)
    assert time.monotonic() - began < 2
