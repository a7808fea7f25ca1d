"""Messages side by side: what belongs together, and what differs in meaning."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from santepacs.hl7.compare import Verdict, compare, differences, tables
from santepacs.hl7.message import parse

HEADER = "MSH|^~\\&|HIS|WARD|PACS|RAD|20260102||ORM^O01|77|P|2.3.1"


def message(*segments, header=HEADER):
    return parse("\r".join((header, *segments, "")).encode())


def compared(first, second, **keywords):
    """Names, places and verdicts, without the header."""
    found = compare(message(*first), message(*second), **keywords)
    return [(each.name, each.first, each.second, str(each.verdict)) for each in found[1:]]


def fields(first, second):
    """The fields of the only segment besides the header that differ."""
    (found,) = compare(message(first), message(second))[1:]
    return {
        each.number: (each.first, each.second, str(each.verdict))
        for each in found.fields
        if each.verdict is not Verdict.SAME
    }


def test_a_message_is_the_same_as_itself():
    order = message("PID|1||ID7||Doe^Jane", "ORC|NW|1", "OBR|1|1")
    assert {each.verdict for each in compare(order, order)} == {Verdict.SAME}
    assert differences(compare(order, order)) == []


def test_fields_are_numbered_as_hl7_does():
    changed = HEADER.replace("WARD", "OTHER")
    (found,) = compare(message(), message(header=changed))
    assert [f.number for f in found.fields if f.verdict is Verdict.DIFFERENT] == [4]
    assert (found.fields[0].first, found.fields[1].first) == ("|", "^~\\&")
    assert fields("PID|1||ID7", "PID|1||ID8") == {3: ("ID7", "ID8", "different")}


def test_every_verdict():
    assert fields("PID|1||A||B|C", "PID|1||a|d|B|") == {
        3: ("A", "a", "different"),
        4: ("", "d", "only second"),
        6: ("C", "", "only first"),
    }


def test_time_and_control_id_are_ignored_unless_asked_for():
    later = HEADER.replace("20260102", "20260103").replace("|77|", "|78|")
    (found,) = compare(message(), message(header=later))
    assert found.verdict is Verdict.SAME
    assert [f.number for f in found.fields if f.verdict is Verdict.IGNORED] == [7, 10]
    (found,) = compare(message(), message(header=later), ignore=())
    assert found.verdict is Verdict.DIFFERENT
    assert compared(["PID|1||A"], ["PID|1||B"], ignore=["pid-3"]) == [("PID", 2, 2, "same")]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("PID|1||ID7", "PID|1||ID7|||"),
        ("PID|1||ID7", "PID|1||ID7^^^~&"),
        ("PID|1||A^B", "PID|1||A^B&&^^"),
        ("PID|1||A\\T\\B", "PID|1||A\\X26\\B"),
        ("PID|1||A\\H\\B", "PID|1||AB"),
    ],
)
def test_what_means_the_same_is_the_same(first, second):
    assert fields(first, second) == {}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("PID|1||A^B", "PID|1||A\\S\\B"),
        ("PID|1||A&B", "PID|1||A^B"),
        ("PID|1||A~B", "PID|1||A^B"),
        ("PID|1||^A", "PID|1||A"),
        ('PID|1||""', "PID|1||"),
    ],
)
def test_what_means_something_else_differs(first, second):
    assert list(fields(first, second)) == [3]


def test_other_delimiters_mean_the_same():
    other = parse(b"MSH$*~\\&$HIS$WARD$PACS$RAD$20260102$$ORM*O01$77$P$2.3.1\rPID$1$$ID7*x|y\r")
    found = compare(message("PID|1||ID7^x\\F\\y"), other)
    differing = [(s.name, f.number) for s in found for f in s.fields if f.verdict != "same"]
    assert differing == [("MSH", 1), ("MSH", 2)]


def test_a_segment_without_counterpart():
    assert compared(["PID|1||A", "PV1|1|O"], ["EVN|A01", "PID|1||A"]) == [
        ("EVN", None, 2, "only second"),
        ("PID", 2, 3, "same"),
        ("PV1", 3, None, "only first"),
    ]


def test_an_inserted_segment_does_not_shift_the_others():
    first = ["OBX|1|TX|a||one", "OBX|2|TX|b||two", "OBX|3|TX|c||three"]
    second = ["OBX|1|TX|a||one", "OBX|2|TX|x||new", "OBX|3|TX|b||two", "OBX|4|TX|c||three"]
    assert compared(first, second) == [
        ("OBX", 2, 2, "same"),
        ("OBX", None, 3, "only second"),
        ("OBX", 3, 4, "different"),  # its number alone
        ("OBX", 4, 5, "different"),
    ]


def test_a_changed_segment_is_found_by_what_it_shares():
    first = ["OBX|1|TX|weight||70|kg", "OBX|2|TX|height||1.8|m"]
    second = ["OBX|1|TX|height||1.7|m", "OBX|2|TX|weight||70.5|kg"]
    assert [each[1:3] for each in compared(first, second)] == [(2, 3), (3, 2)]


def test_segments_that_share_nothing_go_by_number_then_in_order():
    assert compared(["NTE|1||a", "NTE|2||b"], ["NTE|2||c", "NTE|7||d"]) == [
        ("NTE", 2, 3, "different"),
        ("NTE", 3, 2, "different"),
    ]


def test_orders_are_compared_with_their_own_segments():
    one = ["ORC|NW|P1", "OBR|1|P1||CT", "NTE|1||fasting"]
    two = ["ORC|NW|P2", "OBR|1|P2||MR", "NTE|1||fasting"]
    found = compared(["PID|1||A", *one, *two], ["PID|1||A", *two, *one])
    assert {each[3] for each in found} == {"same"}
    assert [each[1:3] for each in found] == [(2, 2), (3, 6), (4, 7), (5, 8), (6, 3), (7, 4), (8, 5)]
    found = compared(["PID|1||A", *one, *two], ["PID|1||A", *two])
    assert [each[3] for each in found] == ["same", *["only first"] * 3, *["same"] * 3]


def test_orders_without_numbers_go_as_they_come():
    found = compared(["OBR|1|||CT", "OBR|2|||MR"], ["OBR|1|||US", "OBR|2|||MR"])
    assert [each[1:] for each in found] == [(2, 2, "different"), (3, 3, "same")]


def test_tables_have_a_column_for_each_field_and_a_row_for_each_message():
    _, table = tables(compare(message("PID|1||<b>"), message("PID|1||ID8|x")))
    assert (table.name, str(table.verdict)) == ("PID", "different")
    assert table.header == ("PID-1", "PID-2", "PID-3", "PID-4")
    assert [cell.text for cell in table.first] == ["1", "", "<b>", ""]
    assert [cell.text for cell in table.second] == ["1", "", "ID8", "x"]
    assert [str(cell.verdict) for cell in table.first] == [
        "same", "same", "different", "only second",
    ]  # fmt: skip


def test_an_order_goes_with_the_one_that_has_all_its_numbers_and_no_others():
    orders = ["ORC|1|x|", "ORC|1|x|", "OBR|1|x|y"]
    assert {each[3] for each in compared(orders, orders)} == {"same"}
    found = compared(orders, [*orders[1:], orders[0]])
    assert [each[1:] for each in found] == [(2, 4, "same"), (3, 2, "same"), (4, 3, "same")]


SEGMENTS = st.lists(
    st.builds(
        "{}|{}|{}|{}".format,
        st.sampled_from(["ORC", "OBR", "NTE", "OBX", "PID", "ZDS"]),
        st.sampled_from(["1", "2", "", "a"]),
        st.sampled_from(["1", "x", "x^y", ""]),
        st.text("ab^~&\\|", max_size=4),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(SEGMENTS, SEGMENTS)
def test_every_segment_stands_there_once_and_the_other_way_round_says_the_same(first, second):
    a, b = message(*first), message(*second)
    found = compare(a, b)
    for message_, places in ((a, [s.first for s in found]), (b, [s.second for s in found])):
        assert sorted(filter(None, places)) == list(range(1, len(message_.segments) + 1))
    assert [s.first for s in found if s.first] == sorted(s.first for s in found if s.first)
    for each in found:
        assert each.first or each.second
    assert all(each.verdict is Verdict.SAME for each in compare(a, a))
    assert len(differences(compare(b, a))) >= 0


@pytest.mark.parametrize(
    "line",
    [
        "OBX|{n}|TX|code||same|u",
        "NTE|1||same",
        "OBX|{n}|TX|code^{n}||{n}",
        "ORC|NW|1\rOBR|1|1||CT",
        "ORC|NW|{n}\rOBR|1|{n}||CT",
        "ZZZ||||||||||",
    ],
)
def test_time_is_linear(line):
    def seconds(count):
        one = message(*(line.format(n=n) for n in range(count)))
        other = message(*(line.format(n=n + count // 2) for n in range(count)))
        began = time.process_time()
        compare(one, other)
        return time.process_time() - began

    seconds(100)
    small, large = seconds(500), seconds(4000)
    assert large < 40 * small + 0.2
