"""The HL7 tools' pages over real HTTP: what they show, do and refuse."""

import html
import re
import socket
from urllib.parse import quote

import pytest

from support.hl7_pages import REFUSED, answering, orm, send_parts, submit_parts
from support.web import running_web

NEWEST = re.compile(r'href="/hl7/messages/([0-9]+)"')
LOOKING = (
    "/hl7",
    "/hl7/rows",
    "/hl7/messages/1",
    "/hl7/outgoing",
    "/hl7/outgoing/rows",
    "/hl7/compare",
    "/hl7/scanner",
    "/hl7/messages/1.hl7",
)
FOR_ADMINISTRATORS = (
    "/hl7/messages/1/correct",
    "/hl7/compose",
    "/hl7/mapping",
    "/hl7/uids",
    "/hl7/nodes",
    "/hl7/nodes/edit?name=RIS",
)
FORMS = (
    "/hl7/messages/1/correct",
    "/hl7/uids",
    "/hl7/nodes",
    "/hl7/nodes/state",
    "/hl7/nodes/delete",
    "/hl7/nodes/test",
    "/hl7/nodes/forget",
    "/hl7/outgoing/1",
)
UPLOADS = ("/hl7/compose", "/hl7/mapping")


@pytest.fixture
def web(reactor_thread, database_dsn, tmp_path):
    with running_web(reactor_thread, database_dsn.runtime, tmp_path) as running:
        yield running


@pytest.fixture
def browser(web):
    return web.logged_in("boss", administrator=True)


def words(answer):
    """The text of a page, without its marks."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


# --- the log --------------------------------------------------------------------------------------


def test_the_log_shows_what_came_and_what_was_answered(web, browser):
    web.receive(*orm())
    web.receive(*REFUSED)
    text = words(browser.get("/hl7"))
    assert "ORM^O01 RIS HOSP 127.0.0.1 ID1" in text
    assert "AE ORM^O01 OTHER CLINIC" in text
    assert "PID-3 no patient identifier" in text
    assert 'href="/worklist/1"' in browser.get("/hl7").text


def test_counters_say_who_sends_and_how_much_is_refused(web, browser):
    web.receive(*orm(1))
    web.receive(*orm(2))
    web.receive(*REFUSED)
    text = words(browser.get("/hl7"))
    assert "RIS HOSP 2 messages in 24 h" in text
    assert "OTHER CLINIC 1 message in 24 h" in text
    assert "1 refused" in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["3", "2", "1"]),
        ("verdict=refused", ["2"]),
        ("verdict=AE", ["2"]),
        ("verdict=AR", []),
        ("verdict=AA", ["3", "1"]),
        ("type=orm", ["3", "2", "1"]),
        ("type=ADT", []),
        ("application=RIS&facility=HOSP", ["3", "1"]),
        ("patient_id=ID3", ["3"]),
        ("text=%CE%BC%CE%B1%CF%81%CE%B9%CE%B1", ["3", "1"]),
        ("text=X1", ["2"]),
        ("days=1", ["3", "2", "1"]),
        ("days=x&verdict=y&before=z", ["3", "2", "1"]),
        ("before=3", ["2", "1"]),
    ],
)
def test_filters_stay_in_the_address(web, browser, query, found):
    web.receive(*orm(1))
    web.receive(*REFUSED)
    web.receive(*orm(3))
    rows = browser.get(f"/hl7/rows?{query}").text.partition("<tbody>")[2]
    assert re.findall(r'id="m([0-9]+)"', rows) == found
    assert browser.get(f"/hl7?{query}").status == 200


def test_pages_of_the_log_continue_without_gap(web, browser):
    for number in range(53):
        web.receive(*orm(number))
    first = browser.get("/hl7")
    following = html.unescape(re.search(r'href="([^"]+)" rel="next"', first.text)[1])
    second = browser.get(following)
    seen = re.findall(r'id="m([0-9]+)"', first.text + second.text)
    assert seen == [str(number) for number in range(53, 0, -1)]
    assert 'rel="next"' not in second.text
    assert "data-live" not in second.text


def test_an_empty_log_says_how_messages_get_here(browser):
    assert "No messages yet" in words(browser.get("/hl7"))
    assert "Nothing matches" in words(browser.get("/hl7?text=zzz"))


# --- one message ----------------------------------------------------------------------------------


def test_a_message_is_shown_as_sent_field_by_field_and_why(web, browser):
    web.receive(*orm())
    text = words(browser.get("/hl7/messages/1"))
    assert "PID-5 Patient name Παπαδοπουλου^Μαρια^^^Dr" in text
    assert "PID-5.1 Family name Παπαδοπουλου" in text
    assert "ORC|NW|A1|||SC||||||||||20261121093000 CR" in text
    assert "PATIENT NAME Παπαδοπουλου^Μαρια^^Dr PID-5 has" in text
    assert "MODALITY CT OBR-18.1" in text
    assert "declared UNICODE UTF-8, decoded as utf-8" in text


def test_a_wrong_character_set_is_said(web, browser):
    web.receive(
        "MSH|^~\\&|RIS|H|||2026||ORM^O01|1|P|2.3||||||8859/1",
        *("PID|1||P1||Dvořák^Jan", "ORC|NW|A1", "OBR|1|A1||CT^x"),
        charset="utf-8",
    )
    text = words(browser.get("/hl7/messages/1"))
    assert "declared 8859/1, decoded as utf-8 doubtful" in text
    assert "Dvořák" in text


def test_control_characters_are_names(web, browser):
    web.receive("MSH|^~\\&|A|B|||1||ORM^O01|1|P|2.3", "PID|1||P\x1b1||a\x0cb\u202ec")
    answer = browser.get("/hl7/messages/1")
    assert '<span class="control">ESC</span>' in answer.text
    assert '<span class="control">FF</span>' in answer.text
    assert '<span class="control">U+202E</span>' in answer.text
    assert not re.search("[\x0b\x0c\x1b\u202e]", answer.text)


def test_an_unreadable_message_is_shown_with_the_reason(web, browser):
    web.receive("GARBAGE in")
    text = words(browser.get("/hl7/messages/1"))
    assert "cannot be read as a message" in text
    assert "GARBAGE in" in text


def test_a_huge_field_is_shortened_and_whole_on_request(web, browser):
    web.receive(*orm(), "OBX|1|TX|a||" + "long words " * 40_000)
    answer = browser.get("/hl7/messages/1")
    assert len(answer.body) < 120_000
    address = re.search(r'href="(/hl7/messages/1/field\?[^"]+)"', answer.text)[1]
    whole = browser.get(html.unescape(address))
    assert whole.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert whole.text == ("long words " * 40_000).strip()


@pytest.mark.parametrize(
    "query",
    [
        "",
        "segment=1",
        "segment=99&field=1",
        "segment=1&field=999",
        "segment=x&field=1",
        "segment=0&field=0",
        "segment=-1&field=1",
    ],
)
def test_a_field_that_is_not_there(web, browser, query):
    web.receive(*orm())
    assert browser.get(f"/hl7/messages/1/field?{query}").status == 404


def test_a_message_of_many_segments_is_shown_in_parts(web, browser):
    web.receive(*orm(), *(f"NTE|{n}||note {n}" for n in range(1, 600)))
    first = browser.get("/hl7/messages/1")
    assert "further segments" in first.text
    assert "note 599" not in first.text.partition("As sent")[0]
    last = browser.get("/hl7/messages/1?from=500")
    assert "note 599" in last.text.partition("As sent")[0]
    assert browser.get("/hl7/messages/1?from=99999").status == 200
    assert browser.get("/hl7/messages/1?from=-5").status == 200


def test_a_message_of_16_megabytes_is_shown_bounded(web, browser):
    web.receive(*orm(), "OBX|1|ED|a||" + "QUJD" * 3_990_000)
    answer = browser.get("/hl7/messages/1")
    assert answer.status == 200
    assert len(answer.body) < 200_000
    assert "too large to be explained" in words(answer)
    refused = browser.get("/hl7/messages/1/correct")
    assert refused.status == 400
    assert "too large to be edited" in words(refused)
    assert len(browser.get("/hl7/messages/1.hl7").body) > 15_900_000


def test_a_message_is_exported_byte_for_byte(web, browser):
    web.receive(*orm())
    answer = browser.get("/hl7/messages/1.hl7")
    assert answer.body == "".join(f"{line}\r" for line in orm()).encode()
    assert answer.headers["Content-Disposition"] == 'attachment; filename="message-1.hl7"'


@pytest.mark.parametrize("key", ["0", "9", "x", "-1", "1" * 19, "٣"])
def test_a_message_that_is_not_there(web, browser, key):
    for path in ("/hl7/messages/{}", "/hl7/messages/{}.hl7", "/hl7/messages/{}/correct"):
        assert browser.get(path.format(quote(key))).status == 404


# --- correct and run again ------------------------------------------------------------------------


def test_a_refused_message_is_corrected_and_run_again(web, browser):
    web.receive(*REFUSED)
    page = browser.get("/hl7/messages/1/correct")
    assert "PID-3" in words(page)
    text = "\n".join(REFUSED).replace("PID|1||||", "PID|1||P9||")
    checked = browser.submit(
        "/hl7/messages/1/correct", "/hl7/messages/1/correct", {"text": text, "do": "check"}
    )
    assert "AA: would be accepted" in words(checked)
    assert html.escape(text.partition("\n")[0], quote=False) in checked.text
    assert web.sql("SELECT id FROM hl7_message") == web.sql("SELECT 1 AS id")
    run = browser.submit(
        "/hl7/messages/1/correct", "/hl7/messages/1/correct", {"text": text, "do": "run"}
    )
    assert run.headers["Location"] == "/hl7/messages/2"
    shown = words(browser.get("/hl7/messages/2"))
    assert "message 1 by boss" in shown
    assert web.sql("SELECT patient_id FROM worklist_record")[0].patient_id == "P9"
    assert "AE" in words(browser.get("/hl7/messages/1"))


def test_what_cannot_be_encoded_is_said_and_stays(web, browser):
    web.receive(*REFUSED)
    text = "MSH|^~\\&|A|B|||1||ORM^O01|1|P|2.3||||||8859/1\nPID|1||P1||Ωmega^X"
    answer = browser.submit(
        "/hl7/messages/1/correct", "/hl7/messages/1/correct", {"text": text, "do": "run"}
    )
    assert "has no 'Ω'" in words(answer)
    assert "Ωmega^X" in answer.text
    assert len(web.sql("SELECT id FROM hl7_message")) == 1


def test_unseen_characters_survive_an_edit(web, browser):
    web.receive("MSH|^~\\&|A|B|||1||ORM^O01|1|P|2.3", "PID|1||P1||a\x0cb", "ORC|NW|1", "OBR|1|1")
    text = browser.get("/hl7/messages/1/correct").text
    assert "a\\X0C\\b" in text


# --- compose and send -----------------------------------------------------------------------------


def acknowledged(raw):
    control_id = raw.split(b"\r")[0].split(b"|")[9]
    return b"MSH|^~\\&|X|Y|||1||ACK|9|P|2.3.1\rMSA|AA|" + control_id + b"|thank you\r"


def test_every_template_would_be_accepted_or_heard(web, browser):
    page = browser.get("/hl7/compose")
    names = re.findall(r"<option>([A-Z]{3}[^<]+)</option>", page.text)
    assert len(names) >= 7
    for name in names:
        answer = submit_parts(
            browser, "/hl7/compose", {"template": html.unescape(name), "do": "template"}
        )
        assert "AA: would be accepted" in words(answer), name


def test_a_message_is_sent_and_its_answer_shown(web, browser):
    with answering(acknowledged) as (port, came):
        answer = submit_parts(
            browser,
            "/hl7/compose",
            {
                "text": "\n".join(orm()),
                "host": "127.0.0.1",
                "port": str(port),
                "do": "send",
                "receiving_application": "THEM|X",
                "receiving_facility": "THERE",
            },
        )
    text = words(answer)
    assert re.search(r"AA thank you after [0-9]+ ms", text)
    assert "MSA-1 Acknowledgement code AA" in text
    header = came[0].split(b"\r")[0].split(b"|")
    assert header[4:6] == [b"THEM X", b"THERE"]
    assert came[0].endswith(b"\r")
    assert "ORC|NW|A1" in answer.text


def test_a_message_is_sent_to_a_node(web, browser):
    with answering(acknowledged) as (port, came):
        web.sql("INSERT INTO hl7_node (name, host, port) VALUES ('RIS', '127.0.0.1', %s)", port)
        answer = submit_parts(
            browser, "/hl7/compose", {"text": "\n".join(orm()), "node": "RIS", "do": "send"}
        )
    assert "thank you" in words(answer)
    assert came


@pytest.mark.parametrize(
    ("fields", "said", "status"),
    [
        ({"text": ""}, "there is no message to send", 400),
        ({"text": "MSH|^~\\&|"}, "choose a node, or type a host and a port", 400),
        ({"text": "x", "host": "127.0.0.1", "port": "0"}, "choose a node", 400),
        ({"text": "x", "host": "127.0.0.1", "port": "65536"}, "a port is a number", 400),
        ({"text": "x", "host": "127.0.0.1", "port": "-1"}, "a port is a number", 400),
        ({"text": "x", "host": "a b;c", "port": "25"}, "an address or a host name", 400),
        ({"text": "x", "node": "nobody"}, "receives no messages", 400),
        ({"text": "hello", "host": "127.0.0.1", "port": "9"}, "not an HL7 message", 400),
    ],
)
def test_what_cannot_be_sent_is_said_and_stays(browser, fields, said, status):
    answer = submit_parts(browser, "/hl7/compose", {**fields, "do": "send"})
    assert answer.status == status
    assert said in words(answer)
    assert html.escape(fields["text"], quote=False) in answer.text


def test_a_receiver_that_is_not_there_is_said(browser):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    answer = submit_parts(
        browser,
        "/hl7/compose",
        {"text": "\n".join(orm()), "host": "127.0.0.1", "port": str(port), "do": "send"},
    )
    assert answer.status == 502
    assert "the receiver refuses connections" in words(answer)
    assert "ORC|NW|A1" in answer.text


def test_an_answer_that_is_none_is_shown_as_text(browser):
    with answering(lambda raw: b"<script>alert(1)</script>") as (port, _):
        answer = submit_parts(
            browser,
            "/hl7/compose",
            {"text": "\n".join(orm()), "host": "127.0.0.1", "port": str(port), "do": "send"},
        )
    assert "No usable answer" in words(answer)
    assert "<script>alert" not in answer.text


def test_a_file_is_loaded_in_its_character_set(browser):
    content = (
        b"\x0bMSH|^~\\&|A|B|||1||ORM^O01|1|P|2.3||||||8859/7\rPID|1||P||\xd0\xe1\xf0\xe1\r\x1c\r"
    )
    answer = submit_parts(browser, "/hl7/compose", {"do": "load"}, file=content)
    assert "PID|1||P||Παπα" in answer.text
    large = submit_parts(browser, "/hl7/compose", {"do": "load"}, file=b"x" * 4_000_001)
    assert large.status == 400


def test_a_kept_message_is_composed_from(web, browser):
    web.receive(*orm())
    assert "ORC|NW|A1" in browser.get("/hl7/compose?message=1").text
    assert browser.get("/hl7/compose?message=77").status == 404
    assert browser.get("/hl7/compose?template=zzz").status == 200


# --- compare --------------------------------------------------------------------------------------


def test_kept_messages_are_compared(web, browser):
    web.receive(*orm(1))
    web.receive(*orm(2))
    text = words(browser.get("/hl7/compare?first=1&second=2"))
    assert "PID-3 Patient identifier list ID1^^^HOSP^PI ID2^^^HOSP^PI ≠ differs" in text
    assert "MSH-10 Message control ID C1 C2 · not compared" in text
    assert "PID-8 Administrative sex F F = same" in text
    fewer = words(browser.get("/hl7/compare?first=1&second=2&differences=yes"))
    assert "PID-8" not in fewer
    assert "PID-3" in fewer


def test_files_are_compared_and_exported(browser):
    one, two = ("\r".join(orm(n)).encode() for n in (1, 2))
    fields = {"differences": "yes", "do": "export"}
    answer = submit_parts(browser, "/hl7/compare", fields, first_file=one, second_file=two)
    assert answer.headers["Content-Disposition"] == 'attachment; filename="hl7-comparison.html"'
    assert "PID-3" in answer.text
    assert "default-src 'none'" in html.unescape(answer.text)
    again = submit_parts(
        browser,
        "/hl7/compare",
        {
            "first_text": "\n".join(orm(1)),
            "second_text": "\n".join(orm(1)),
            "all_fields": "yes",
        },
    )
    assert "0 segments differ of 5" in words(again)


def test_text_in_another_character_set_than_declared_is_compared(browser):
    lines = ["MSH|^~\\&|A|B|||1||ORM^O01|1|P|2.3||||||8859/1", "PID|1||P1||Dvořák^Ω"]
    answer = submit_parts(
        browser, "/hl7/compare", {"first_text": "\n".join(lines), "second_text": "\n".join(lines)}
    )
    assert "Dvořák^Ω" in words(answer)


def test_messages_of_any_size_are_compared_on_a_page_of_bounded_size(browser):
    head = "MSH|^~\\&|A|B|||1||ORM^O01|1|P|2.3\n"
    first, second = (head + ("ZZZ|" + "|".join([v] * 10) + "\n") * 5000 for v in "ab")
    fields = {"first_text": first, "second_text": second}
    for do in ("compare", "export"):
        answer = submit_parts(browser, "/hl7/compare", {**fields, "do": do})
        assert "too large to be shown whole" in words(answer)
        assert len(answer.body) < 2_000_000
        assert do == "export" or "5 000 segments differ of 5001" in words(answer)


def test_pasted_text_is_compared_up_to_a_limit(browser):
    text = "MSH|^~\\&|A|B|||1||ORM^O01|1|P|2.3\nPID|" + "^" * 1_000_000
    answer = submit_parts(browser, "/hl7/compare", {"first_text": text, "second_text": text})
    assert "too large to be compared" in words(answer)


@pytest.mark.parametrize("side", ["first", "second"])
def test_what_cannot_be_compared_is_said_and_stays(browser, side):
    fields = {"first_text": "\n".join(orm()), "second_text": "\n".join(orm())}
    answer = submit_parts(browser, "/hl7/compare", {**fields, f"{side}_text": "no message"})
    assert answer.status == 400
    assert "does not begin with MSH" in words(answer)
    assert "no message" in answer.text
    missing = submit_parts(browser, "/hl7/compare", {**fields, f"{side}_key": "77"})
    assert "there is no such message" in words(missing)
    assert "ORC|NW|A1" in missing.text
    assert browser.get(f"/hl7/compare?{side}=77").status == 404


# --- outgoing -------------------------------------------------------------------------------------


def outgoing(web, state="waiting", **changes):
    web.sql(
        "INSERT INTO hl7_node (name, host, port) VALUES ('RIS', '127.0.0.1', 9)"
        " ON CONFLICT DO NOTHING"
    )
    row = {
        "node": "RIS",
        "raw": "\r".join(orm()).encode(),
        "message_type": "ORM^O01",
        "control_id": "C1",
        "origin": "boss",
        "state": state,
        "answer": b"",
        **changes,
    }
    columns, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    web.sql(f"INSERT INTO hl7_outgoing ({columns}) VALUES ({marks})", *row.values())


def test_what_was_sent_is_listed_with_its_answer(web, browser):
    answer = b"MSH|^~\\&|X|Y|||1||ACK|9|P|2.3\rMSA|AE|C1|bad birth date\r"
    outgoing(web)
    outgoing(web, "failed", answer=answer, answer_code="AE", remark="bad birth date")
    text = words(browser.get("/hl7/outgoing"))
    assert "1 for RIS" in text
    assert "failed AE RIS ORM^O01 bad birth date" in text
    assert "waiting" not in words(browser.get("/hl7/outgoing/rows?state=failed")).partition("AE")[2]
    one = words(browser.get("/hl7/outgoing/2"))
    assert "MSA-3 Text message bad birth date" in one
    assert "ORC|NW|A1" in one
    assert browser.get("/hl7/outgoing/99").status == 404


def test_a_message_is_sent_again_or_cancelled(web, browser):
    outgoing(web)
    outgoing(web, "failed")
    path = "/hl7/outgoing/{}"
    assert browser.submit("/hl7/outgoing", path.format(1), {"do": "cancel"}).status == 303
    assert browser.submit("/hl7/outgoing", path.format(2), {"do": "again"}).status == 303
    states = [row.state for row in web.sql("SELECT state FROM hl7_outgoing ORDER BY id")]
    assert states == ["cancelled", "failed", "waiting"]
    assert web.woken
    assert browser.submit("/hl7/outgoing", path.format(2), {"do": "x"}).status == 404
    assert browser.submit("/hl7/outgoing", path.format(77), {"do": "again"}).status == 404


# --- nodes ----------------------------------------------------------------------------------------


def nodes_of(web):
    return [
        tuple(row)
        for row in web.sql("SELECT name, host, port, enabled FROM hl7_node ORDER BY name")
    ]


def test_a_node_is_added_changed_disabled_deleted_and_brought_back(web, browser):
    here = "/hl7/nodes"
    values = {"name": " RIS  one ", "host": "192.168.1.5", "port": "2575", "enabled": "yes"}
    assert browser.submit(here, here, values).status == 303
    assert nodes_of(web) == [("RIS one", "192.168.1.5", 2575, True)]
    assert 'value="192.168.1.5"' in browser.get(f"{here}/edit?name=RIS+one").text
    changed = {"was": "RIS one", "name": "RIS", "host": "ris.example.org", "port": ""}
    assert browser.submit(here, here, changed).status == 303
    assert nodes_of(web) == [("RIS", "ris.example.org", 0, False)]
    browser.submit(here, f"{here}/state", {"name": "RIS", "enabled": "yes"})
    assert nodes_of(web) == [("RIS", "ris.example.org", 0, True)]
    deleted = browser.submit(here, f"{here}/delete", {"name": "RIS"})
    assert "RIS was deleted" in words(deleted)
    assert nodes_of(web) == []
    undone = dict(
        re.findall(
            r'type="hidden" name="(\w+)" value="([^"]*)"',
            deleted.text.partition("was deleted")[2].partition("</form>")[0],
        )
    )
    assert browser.send(here, undone).status == 303
    assert nodes_of(web) == [("RIS", "ris.example.org", 0, True)]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"name": "", "host": "h"}, "a node&#39;s name"),
        ({"name": "n" * 65, "host": "h"}, "a node&#39;s name"),
        ({"name": "n", "host": ""}, "a node&#39;s host"),
        ({"name": "n", "host": "http://x/"}, "a node&#39;s host"),
        ({"name": "n", "host": "h", "port": "65536"}, "a port is a number"),
        ({"name": "n", "host": "h", "port": "1.5"}, "a port is a number"),
        ({"name": "KNOWN", "host": "h"}, "already an HL7 node"),
    ],
)
def test_an_impossible_node_is_said_and_stays(web, browser, values, said):
    web.sql("INSERT INTO hl7_node (name, host) VALUES ('KNOWN', '10.0.0.1')")
    answer = browser.submit("/hl7/nodes", "/hl7/nodes", values)
    assert answer.status == 400
    assert said in answer.text
    assert f'value="{values["host"]}"' in answer.text
    assert len(nodes_of(web)) == 1


def test_a_node_is_tested(web, browser):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        web.sql("INSERT INTO hl7_node (name, host, port) VALUES ('RIS', '127.0.0.1', %s)", port)
        answer = browser.submit("/hl7/nodes", "/hl7/nodes/test", {"name": "RIS"})
        assert "RIS accepts connections" in words(answer)
    answer = browser.submit("/hl7/nodes", "/hl7/nodes/test", {"name": "RIS"})
    assert "refuses connections" in words(answer)
    for name in ("nobody", ""):
        assert browser.submit("/hl7/nodes", "/hl7/nodes/test", {"name": name}).status == 404


def test_who_was_turned_away_can_be_added_or_forgotten(web, browser):
    web.sql(
        "INSERT INTO caller (protocol, title, address, reason)"
        " VALUES ('hl7', '', '192.168.7.7', 'unknown'), ('dicom', 'X', '10.0.0.1', 'no')"
    )
    page = browser.get("/hl7/nodes")
    assert "192.168.7.7" in page.text
    assert "10.0.0.1" not in page.text
    assert 'value="192.168.7.7"' in browser.get("/hl7/nodes?host=192.168.7.7").text
    assert browser.submit("/hl7/nodes", "/hl7/nodes/forget", {"id": "1"}).status == 303
    assert "192.168.7.7" not in browser.get("/hl7/nodes").text
    assert browser.submit("/hl7/nodes", "/hl7/nodes/forget", {"id": "x"}).status == 404


# --- Study UIDs -----------------------------------------------------------------------------------


def test_s80_s83_study_uid_setup_is_saved_and_in_force(web, browser):
    values = {"root": "1.2.3.4", "for_all": "no", "titles": "CT01\r\nMR01, US1\nCT01\n"}
    assert browser.submit("/hl7/uids", "/hl7/uids", values).headers["Location"] == "/hl7/uids?saved"
    assert web.settings.worklist.study_uid_root == "1.2.3.4"
    assert web.settings.worklist.study_uid_for_all is False
    assert web.settings.worklist.study_uid_ae_titles == ("CT01", "MR01", "US1")
    text = browser.get("/hl7/uids").text
    assert "CT01\nMR01\nUS1" in text
    assert 'value="1.2.3.4"' in text


def test_an_impossible_uid_root_or_title_is_said_at_its_field(web, browser):
    values = {"root": "1.02", "for_all": "no", "titles": "TOO LONG A TITLE FOR DICOM"}
    answer = browser.submit("/hl7/uids", "/hl7/uids", values)
    assert answer.status == 400
    assert "must be a UID root" in answer.text
    assert "must be an AE title" in answer.text
    assert "TOO LONG A TITLE" in answer.text
    assert 'value="1.02"' in answer.text
    assert web.settings.worklist.study_uid_for_all is True


def test_what_is_pinned_is_locked(web, browser):
    web.settings.pinned["worklist.study_uid_root"] = "santepacs.toml"
    assert "Locked: pinned by santepacs.toml" in words(browser.get("/hl7/uids"))
    values = {"root": "9.9.9", "for_all": "no", "titles": ""}
    assert browser.submit("/hl7/uids", "/hl7/uids", values).status == 303
    assert web.settings.worklist.study_uid_root == "1.2.300.0.7230010.3.1.3"
    assert web.settings.worklist.study_uid_for_all is False


# --- what a scanner sees --------------------------------------------------------------------------


def test_what_a_scanner_sees_and_why_not_more(web, browser):
    web.receive(*orm(1))
    key = web.schedule(
        patient_name="Roe^Richard",
        scheduled_station_ae_title="MR01",
        start_date="20261121",
        modality="MR",
    )
    page = browser.get(f"/hl7/scanner?ae_title=CT01&station=CT01&record={key}")
    text = words(page)
    assert "CT01 gets" in text
    assert "It is not sent to CT01." in text
    assert "does not fit" in text
    assert "No scanner" not in text
    assert browser.get("/hl7/scanner").status == 200
    assert "AE title has 1 to 16" in words(browser.get("/hl7/scanner?ae_title=A+B"))
    assert "Not a date" in words(browser.get("/hl7/scanner?ae_title=CT01&date_from=2026-13-01"))
    assert "no worklist record" in words(browser.get("/hl7/scanner?ae_title=CT01&record=99"))


# --- refusals -------------------------------------------------------------------------------------


def test_who_is_not_logged_in_sees_nothing(web):
    stranger = web.browser()
    for path in (*LOOKING, *FOR_ADMINISTRATORS):
        answer = stranger.get(path)
        assert answer.status == 303, path
        assert answer.headers["Location"].startswith("/login"), path
    for path in FORMS:
        assert stranger.send(path, {}).status == 401, path
    for path in (*UPLOADS, "/hl7/compare"):
        assert send_parts(stranger, path, {}).status == 401, path


def test_a_user_looks_and_changes_nothing(web):
    web.receive(*orm())
    user = web.logged_in("jane")
    for path in LOOKING:
        assert user.get(path).status == 200, path
    for path in FOR_ADMINISTRATORS:
        assert user.get(path).status == 403, path
    proof = user.get("/search").field("proof")
    for path in FORMS:
        assert user.send(path, {"proof": proof}).status == 403, path
    for path in UPLOADS:
        assert send_parts(user, path, {"proof": proof}).status == 403, path
    text = user.get("/hl7/messages/1").text
    assert "/hl7/compose" not in text
    assert "/hl7/mapping" not in text


def test_a_form_without_its_proof_is_refused(web, browser):
    for path in FORMS:
        assert browser.send(path, {"do": "run"}).status == 403, path
        assert browser.send(path, {"proof": "0" * 64}).status == 403, path
    for path in (*UPLOADS, "/hl7/compare"):
        assert send_parts(browser, path, {"do": "save"}).status == 403, path
    proof = browser.get("/hl7").field("proof")
    evil = [("Origin", "http://evil.example.org")]
    for path in FORMS:
        assert browser.send(path, {"proof": proof}, evil).status == 403, path


def test_a_form_that_is_too_large_is_refused(browser):
    announced = {"Content-Length": str(17 << 20)}
    form = {"Content-Type": "application/x-www-form-urlencoded", **announced}
    assert browser.request("POST", "/hl7/messages/1/correct", b"", form).status == 413
    files = {"Content-Type": "multipart/form-data; boundary=x", **announced}
    for path in (*UPLOADS, "/hl7/compare"):
        assert browser.request("POST", path, b"", files).status == 413, path


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{7*7}}",
    "</textarea><b>",
    "javascript:alert(1)",
    "a\u2028b\u202ec",
    "' onfocus='alert(1)",
    "]]>",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_v1_hostile_messages_are_shown_as_text(web, browser, text):
    filled = "|".join([text] * 12)
    web.receive(
        f"MSH|^~\\&|{text}|{text}|{text}|{text}|{text}|{text}|ORM^O01|{text}|P|2.3",
        f"PID|1|{filled}",
        f"ORC|NW|{filled}",
        f"OBR|1|{filled}",
        f"ZZZ|{filled}",
    )
    web.receive(*orm())
    name = "".join(c for c in text if c.isprintable())
    web.sql("INSERT INTO hl7_node (name, host, port) VALUES (%s, '10.0.0.1', 1)", name)
    web.sql(
        "INSERT INTO caller (protocol, title, address, reason) VALUES ('hl7', '', %s, %s)",
        text,
        text,
    )
    outgoing(
        web,
        node=name,
        message_type=text,
        control_id=text,
        origin=text,
        remark=text,
        raw=f"MSH|^~\\&|{text}".encode(),
        answer=f"MSH|^~\\&|\rMSA|AA||{text}".encode(),
    )
    pages = [
        browser.get(path)
        for path in (
            "/hl7",
            "/hl7/messages/1",
            "/hl7/messages/1/correct",
            "/hl7/compose?message=1",
            "/hl7/compare?first=1&second=2",
            "/hl7/mapping?message=1",
            "/hl7/nodes",
            "/hl7/outgoing",
            "/hl7/outgoing/1",
            "/hl7/scanner?ae_title=CT01",
        )
    ]
    exported = submit_parts(
        browser,
        "/hl7/compare",
        {"first_key": "1", "second_key": "2", "do": "export", "first_name": text},
    )
    assert exported.headers["Content-Disposition"].startswith("attachment")
    for page in (*pages, exported):
        assert page.status == 200, words(page)
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert not re.search(r"<[^>]*\son[a-z]+=", re.sub(r'"[^"]*"', '""', page.text))
        assert 'href="javascript' not in page.text
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028\u2029\0\x1b]", page.text)
        assert ">49<" not in page.text
    if text.startswith("</textarea>"):
        assert all("</textarea><b>" not in page.text for page in pages)


def test_what_is_filtered_is_hostile_too(browser):
    for name in ("text", "type", "application", "facility", "patient_id"):
        answer = browser.get(f"/hl7?{name}=%3Cscript%3Ealert(1)%3C/script%3E%22")
        assert answer.status == 200
        assert "<script>alert" not in answer.text
