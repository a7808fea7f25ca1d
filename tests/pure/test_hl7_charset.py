"""Declared and undeclared character sets, right and wrong ones."""

import time

import pytest

from santepacs.hl7.charset import codec_of, decode
from santepacs.hl7.iso2022 import in_set


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
        ("ISO IR14", "iso2022_jp_ext", "ﾔﾏﾀﾞ^山田"),
        ("ISO IR87", "iso2022_jp_ext", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("ISO IR159", "iso2022_jp_ext", "丂^山田"),
        ("ISO 2022 IR 87", "iso2022_jp", "山田^太郎"),
        ("SHIFT_JIS", "cp932", "山田^太郎"),
        ("EUC-JP", "euc_jp", "山田^太郎"),
        ("KS X 1001", "cp949", "똠방각하"),
        ("EUC-KR", "euc_kr", "홍^길동"),
        ("GBK", "gbk", "王^小东"),
        ("GB2312", "gb2312", "王^小东"),
        ("BIG5", "big5hkscs", "王^小明"),
        ("CP950", "cp950", "王^小明"),
        ("TIS-620", "tis_620", "สมชาย"),
        ("8859/11", "cp874", "สมชาย"),
        ("ISO IR166", "cp874", "สมชาย"),
        ("8859/9", "cp1254", "Işık^Ğ\u201d"),
        ("8859/8", "cp1255", "פלונית\u05b0"),
        ("8859/5", "cp1251", "Ђорђе"),
        ("ISO-8859-7", "iso8859-7", "Παπαδοπουλου^Μαρια"),
        ("ISO_8859-2", "iso8859-2", "Żółć^Łucja"),
        ("ISO_IR 144", "iso8859-5", "Иванова^Анна"),
        ("ISO IR100", "latin-1", "Müller^Jörg"),
        ("windows1252", "cp1252", "Žofie"),
        ("CP852", "cp852", "Żółć"),
        ("KOI8-R", "koi8_r", "Иванова^Анна"),
        ("Latin1", "latin-1", "Müller^Jörg"),
        ("", "utf-8", "Müller^Jörg"),
        ("", "iso2022_jp", "山田^太郎"),
        ("ASCII", "utf-8", "Müller^Jörg"),
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
        ("ISO IR87", "cp932", "山田^太郎"),
        ("ISO IR87", "utf-8", "Müller^Jörg"),
        ("KS X 1001", "utf-8", "홍^길동"),
        ("GB 18030-2000", "utf-8", "王^小东"),
        ("BIG-5", "utf-8", "王^小明"),
        ("UNICODE UTF-8", "cp1252", "Müller^Jörg"),
        ("CNS 11643-1992", "big5hkscs", "王^小明"),
        ("CNS 11643-1992", "utf-8", "王^小明"),
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
        ("8859/9", "cp1254", "Işık^Ğ"),
        ("Thai", "cp874", "สมชาย"),
        ("TIS-620", "tis_620", "สมชาย"),
        ("8859/6", "cp1256", "فلانة\u06af"),
        ("KS X 1001", "euc_kr", "홍^길동"),
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


@pytest.mark.parametrize(
    "declared, wire, name",
    [
        ("8859/1~ISO IR87", b"M\xfcller=\x1b$B;3ED\x1b(B^\xc4", "Müller=山田^Ä"),
        ("~ISO IR87", b"\xd4\xcf=\x1b$B;3ED\x1b(B", "ﾔﾏ=山田"),
        ("8859/1~8859/7", b"\xe4=\x1b-F\xe4", "ä=δ"),
        ("ASCII~KS X 1001", b"Hong=\x1b$)C\xc8\xab", "Hong=홍"),
        ("~GB 18030-2000", b"Wang=\x1b$)A\xcd\xf5", "Wang=王"),
        ("8859/7~ISO IR159", b"\x1b$(D0!\x1b(B\xe4", "丂δ"),
        ("", b"\x1b(I\x54\x4f\x1b(B", "ﾔﾏ"),
    ],
)
def test_sets_are_switched_where_several_are_declared(declared, wire, name):
    raw = message("?", declared).encode().replace(b"?", wire)
    decoded = decode(raw)
    assert decoded.text == message(name, declared)
    assert not decoded.doubtful


def test_a_switch_ends_with_its_line():
    raw = message("?", "~ISO IR87").encode().replace(b"?", b"\x1b$B;3ED")
    assert decode(raw + b"PV1|1|abc\r").text.endswith("\rPV1|1|abc\r")


@pytest.mark.parametrize(
    "sequence, wire, text",
    [
        (b"-F", b"\xd0", "Π"),
        (b"(I", b"\x54", "ﾔ"),
        (b"$B", b";3 x", "山 \ufffd"),
        (b"$)C", b"\xc8\xab", "홍"),
    ],
)
def test_bytes_are_read_in_the_set_of_a_sequence(sequence, wire, text):
    assert in_set(wire, sequence, "replace") == text


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
    [
        ("UNICODE UTF-8", "utf-8"),
        ("8859/7", "iso8859-7"),
        ("", "utf-8"),
        ("rot13", "utf-8"),
        ("cp0", "utf-8"),
        ("8859/12", "utf-8"),
        ("8859/", "utf-8"),
        ("ISO IR", "utf-8"),
        ("ISO IR 999", "utf-8"),
    ],
)
def test_codec_of_a_setting(name, codec):
    assert codec_of(name) == codec


@pytest.mark.parametrize(
    "declared, codec, verdict",
    [
        ("8859/1", "latin-1", "8859/1, read as iso8859-1"),
        ("8859/1", "utf-8", "8859/1, read as utf-8, which contradicts it"),
        ("", "utf-8", "not declared, read as utf-8"),
        ("", "latin-1", "not declared, read as cp1252, a guess"),
        ("ISO IR 999", "latin-1", "ISO IR 999, read as cp1252, which contradicts it"),
    ],
)
def test_how_a_text_was_read_is_told(declared, codec, verdict):
    assert decode(message("Müller", declared).encode(codec)).verdict == verdict


@pytest.mark.parametrize("filler", [b"\x1b$B", b"\x1b", b"\x1b(B", b"\x1b$B;3", b"\xff\x1b-F"])
def test_switching_takes_linear_time(filler):
    def seconds(size):
        raw = message("?", "~ISO IR87").encode().replace(b"?", filler * (size // len(filler)))
        began = time.process_time()
        decode(raw)
        return time.process_time() - began

    seconds(1_000)
    # Quadratic time would be 64 times as much.
    assert seconds(400_000) < 30 * seconds(50_000) + 0.2
