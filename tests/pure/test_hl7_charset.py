"""Declared and undeclared character sets, right and wrong ones."""

import pytest

from santepacs.hl7.charset import codec_of, decode


def message(name, declared=""):
    fields = ["MSH", "^~\\&", *([""] * 15), declared]
    return "|".join(fields) + f"\rPID|||7||{name}\r"


@pytest.mark.parametrize(
    "declared, codec, name",
    [
        ("UNICODE UTF-8", "utf-8", "Παπαδοπουλου^Μαρια"),
        ("UNICODE", "utf-8", "Müller^Jörg"),
        ("utf8", "utf-8", "Müller^Jörg"),
        ("8859/1", "latin-1", "Müller^Jörg"),
        ("8859/2", "iso8859-2", "Żółć^Łucja"),
        ("8859/3", "iso8859-3", "Ĉapelo^Ĵo"),
        ("8859/4", "iso8859-4", "Ķirsis^Ā"),
        ("8859/5", "iso8859-5", "Иванова^Анна"),
        ("8859/6", "iso8859-6", "فلانة"),
        ("8859/7", "iso8859-7", "Παπαδοπουλου^Μαρια"),
        ("8859/8", "iso8859-8", "פלונית"),
        ("8859/9", "iso8859-9", "Işık^Ğ"),
        ("8859/15", "iso8859-15", "Œuvre^€"),
        ("CP1250", "cp1250", "Żółć^Łucja"),
        ("WINDOWS-1251", "cp1251", "Иванова^Анна"),
        ("GB 18030-2000", "gb18030", "王^小东"),
        ("KS X 1001", "euc_kr", "홍^길동"),
        ("BIG-5", "big5", "王^小明"),
        ("ISO IR87", "iso2022_jp", "山田^太郎"),
        ("~ISO IR87", "iso2022_jp", "山田^太郎"),
        ("ASCII~ISO IR87", "iso2022_jp", "山田^太郎"),
        ("ISO IR14", "shift_jis", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        ("", "utf-8", "Müller^Jörg"),
        ("", "iso2022_jp", "山田^太郎"),
    ],
)
def test_right_declarations_are_followed(declared, codec, name):
    text = message(name, declared)
    decoded = decode(text.encode(codec))
    assert decoded.text == text
    assert not decoded.doubtful


@pytest.mark.parametrize(
    "declared, codec, name",
    [
        ("8859/1", "utf-8", "Müller^Jörg"),
        ("8859/7", "utf-8", "Παπαδοπουλου^Μαρια"),
        ("ISO IR87", "utf-8", "山田^太郎"),
        ("ISO IR 999", "utf-8", "Müller^Jörg"),
        ("", "cp1252", "Müller^Jörg"),
    ],
)
def test_wrong_declarations_are_seen_and_doubted(declared, codec, name):
    text = message(name, declared)
    decoded = decode(text.encode(codec))
    assert decoded.text == text
    assert decoded.doubtful
    assert decoded.declared == declared


@pytest.mark.parametrize(
    "default, codec, name",
    [
        ("8859/7", "iso8859-7", "Παπαδοπουλου^Μαρια"),
        ("8859/7", "cp1253", "Άννα"),
        ("WINDOWS-1251", "cp1251", "Иванова^Анна"),
    ],
)
def test_the_default_is_for_undeclared_text_that_is_not_utf_8(default, codec, name):
    decoded = decode(message(name).encode(codec), default)
    assert decoded.text == message(name)
    assert not decoded.doubtful
    assert decode(message(name).encode("utf-8"), default).text == message(name)


@pytest.mark.parametrize(
    "declared, codec, name",
    [("8859/7", "cp1253", "Άννα"), ("8859/1", "cp1252", "Žofie"), ("8859/2", "cp1250", "Šárka")],
)
def test_windows_pages_are_recognised_behind_iso_8859(declared, codec, name):
    assert decode(message(name, declared).encode(codec)).text == message(name, declared)


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
def test_wide_text_and_byte_order_marks_are_recognised(codec):
    text = message("Παπαδοπουλου^Μαρια", "UNICODE UTF-16")
    assert decode(text.encode(codec)).text == text


@pytest.mark.parametrize(
    "raw", [b"", b"\xff", b"\0" * 9, b"MSH", b"MSH|\xc0\xaf", b"\xff\xfeM", b"MSH|\x1b$B\xff"]
)
def test_any_bytes_give_text_without_nul(raw):
    assert "\0" not in decode(raw, "8859/7").text


def test_overlong_utf_8_is_not_decoded_as_a_delimiter():
    decoded = decode(b"MSH|^~\\&|a\xc1\xbcb")
    assert decoded.text.count("|") == 2
    assert decoded.doubtful


@pytest.mark.parametrize(
    "name, codec",
    [("UNICODE UTF-8", "utf-8"), ("8859/7", "iso8859-7"), ("", "utf-8"), ("rot13", "utf-8")],
)
def test_codec_of_a_setting(name, codec):
    assert codec_of(name) == codec
