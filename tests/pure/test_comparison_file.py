"""A comparison as a file: everything is there, and nothing in it runs."""

from santepacs.hl7.compare import compare
from santepacs.hl7.comparison_file import html
from santepacs.hl7.message import parse

HEADER = "MSH|^~\\&|HIS|WARD|PACS|RAD|20260102||ORM^O01|77|P|2.3.1\r"


def test_both_messages_are_there_field_by_field():
    first, second = (parse(f"{HEADER}PID|1||{name}\r".encode()) for name in ("ID7", "ID8"))
    page = html(compare(first, second), "a.hl7", "b.hl7")
    assert "<h1>a.hl7 and b.hl7</h1>" in page
    assert "1 of 2 segments differ" in page
    assert '<td class="different">ID7</td>' in page and '<td class="different">ID8</td>' in page
    assert "<h2>PID: different</h2>" in page and "<th>PID-3</th>" in page


def test_what_is_in_a_message_is_text():
    evil = "<script>alert(1)</script>"
    first, second = parse(f"{HEADER}PID|1||{evil}\rZZZ|{evil}\r".encode()), parse(HEADER.encode())
    page = html(compare(first, second), evil, '"><img src=x>')
    assert "<script" not in page and "<img" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "only in the first" in page
