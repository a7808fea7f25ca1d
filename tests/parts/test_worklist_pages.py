"""The worklist's pages through real HTTP: the list, a record, and all that is done to records."""

import html
import re
from datetime import datetime, timedelta

import pytest

from santepacs.db import nodes, outgoing
from santepacs.db.nodes import Node
from santepacs.errors import Unavailable
from santepacs.model.order import FIELDS, StepStatus, WorklistRecord
from santepacs.web import worklist
from support.hl7 import acknowledgement, hl7_receiver
from support.web import running_web

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(2)>{{7*192719}}'
COLUMNS = [
    "#", "Patient Name", "Patient ID", "Birth Date", "Sex", "Accession Number",
    "Requesting Physician", "Requested Procedure", "Modality", "Start Date", "Start Time",
    "Status", "Scheduled AE Title", "Scheduled Station Name", "Requested Procedure ID",
]  # fmt: skip
MESSAGE = (
    "MSH|^~\\&|RIS|WARD|||20261121101500||ORM^O01|MSG7|P|2.3.1",
    "PID|||P7||Müller^Jörg||19610304|M",
    "ORC|NW|A77|F77||||||||||||20261121143000",
    "OBR|1|||5355^LOW DOSE MAMMOGRAPHY||||||||||||Roe^Richard||MG|||FUSION1",
)


@pytest.fixture
def web(reactor_thread, database_dsn, tmp_path):
    with running_web(reactor_thread, database_dsn.runtime, tmp_path) as running:
        yield running


@pytest.fixture
def admin(web):
    return web.logged_in("admin", administrator=True)


def text_of(markup):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def names(answer):
    assert answer.status == 200
    found = re.findall(r'class="row-link"[^>]*>(.*?)</a>', answer.text, re.DOTALL)
    return [text_of(one) for one in found]


def stored(web, key):
    rows = web.sql("SELECT * FROM worklist_record WHERE id = %s", key)
    return rows[0] if rows else None


def typed(**fields):
    values = {"patient_id": "P1", "patient_name": "Doe^Jane", "requested_procedure_id": "R1"}
    return {**dict.fromkeys(FIELDS, ""), **values, **fields}


# --- looking --------------------------------------------------------------------------------------


def test_s89_the_list_has_the_columns_and_the_values(web, admin):
    web.schedule(
        patient_id="15650160026", patient_name="Doe^Jane", patient_birth_date="19780405",
        patient_sex="F", accession_number="333", requesting_physician_name="Roe^Richard",
        requested_procedure_description="LOW DOSE MAMMOGRAPHY", modality="MG",
        scheduled_station_ae_title="FUSION2279-2", scheduled_station_name="MAMMO",
        requested_procedure_id="5355",
    )  # fmt: skip
    answer = admin.get("/worklist")
    head, body = answer.text.split("<thead>")[1].split("</thead>")
    assert all(column in text_of(head) for column in COLUMNS)
    row = text_of(body.split("</tbody>")[0])
    for value in ("Doe, Jane", "15650160026", "1978-04-05", "F", "333", "Roe, Richard",
                  "LOW DOSE MAMMOGRAPHY", "MG", "2026-11-21", "10:15", "Scheduled",
                  "FUSION2279-2", "MAMMO", "5355"):  # fmt: skip
        assert value in row


def test_s93_what_is_offered_beside_the_list_is_there(web, admin):
    tools = admin.get("/worklist").text.split("Worklist data")[1].split("</section>")[0]
    links = re.findall(r'href="([^"]+)"', tools)
    assert len(links) == 6
    assert [admin.get(link).status for link in links] == [200] * 6


def test_an_empty_worklist_says_how_orders_get_here(web, admin):
    page = text_of(admin.get("/worklist").text)
    assert "No records yet" in page
    assert "port 3001" in page
    assert "create a record" in page
    assert "worklist.folder" in page


PEOPLE = [
    {"patient_name": "Doe^Jane", "patient_id": "P1", "accession_number": "A100", "modality": "CT",
     "scheduled_station_ae_title": "CT1", "patient_birth_date": "19610304"},
    {"patient_name": "Müller^Jörg", "patient_id": "P2", "accession_number": "B200",
     "modality": "MR", "scheduled_station_ae_title": "MR1"},
    {"patient_name": "Παπαδοπουλου^Μαρια", "patient_id": "P3", "accession_number": "C300",
     "modality": "CT", "scheduled_station_ae_title": "CT2"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=muller", ["Müller, Jörg"]), ("q=P1", ["Doe, Jane"]),
        ("q=c300", ["Παπαδοπουλου, Μαρια"]),
        ("q=doe+ct", ["Doe, Jane"]), ("q=zzz", []), ("q=mr", ["Müller, Jörg"]),
        ("patient_name=doe", ["Doe, Jane"]), ("patient_id=P2", ["Müller, Jörg"]),
        ("accession_number=A100", ["Doe, Jane"]), ("patient_birth_date=1961-03-04", ["Doe, Jane"]),
        ("modality=mr", ["Müller, Jörg"]), ("station_ae_title=CT2", ["Παπαδοπουλου, Μαρια"]),
        ("status=ARRIVED", []), ("modality=CT&q=doe", ["Doe, Jane"]),
    ],
)  # fmt: skip
def test_records_are_found(web, admin, query, expected):
    for one in PEOPLE:
        web.schedule(**one)
    assert names(admin.get(f"/worklist?{query}")) == expected


def test_s87_days_are_found_by_shortcut_word_and_date(web, admin):
    today = datetime.now().astimezone().date()
    for name, days in (("Old", -9), ("Week", -5), ("Past", -1), ("Now", 0), ("Next", 1)):
        day = f"{today + timedelta(days=days):%Y%m%d}"
        web.schedule(patient_name=f"{name}^X", start_date=day)

    def found(query):
        return [name.partition(",")[0] for name in names(admin.get(f"/worklist?{query}"))]

    assert found("") == ["Next", "Now", "Past", "Week", "Old"]
    assert found("when=today") == found("q=today") == ["Now"]
    assert found("when=tomorrow") == ["Next"]
    assert found("when=yesterday") == ["Past"]
    assert found("when=week") == ["Now", "Past", "Week"]
    assert found("when=today&q=old") == []
    yesterday = f"{today - timedelta(days=1):%Y-%m-%d}"
    assert found(f"date_from={yesterday}") == ["Next", "Now", "Past"]
    assert found(f"date_to={yesterday}&order=oldest") == ["Old", "Week", "Past"]
    assert found(f"when=today&date_from={yesterday}&date_to={yesterday}") == ["Past"]
    wrong = admin.get("/worklist?date_from=31.12.2026")
    assert "Not a date" in wrong.text
    assert 'value="31.12.2026"' in wrong.text


@pytest.mark.parametrize("order", ["", "oldest"])
def test_pages_go_on_and_back_without_gap_or_repetition(web, admin, monkeypatch, order):
    monkeypatch.setattr(worklist, "PAGE", 4)
    for n in range(11):
        web.schedule(patient_name=f"Name{n:02}^X", start_time=f"{n // 3:02}0000")
    seen, path, first = [], f"/worklist?order={order}", ""
    while path:
        answer = admin.get(path)
        seen.append(names(answer))
        following = re.search(r'href="([^"]+)" rel="next"', answer.text)
        first, path = path, html.unescape(following[1]) if following else ""
    flat = [name for page in seen for name in page]
    assert len(flat) == len(set(flat)) == 11
    assert flat == sorted(flat, reverse=not order)
    back = []
    path = first
    while path:
        answer = admin.get(path)
        back.append(names(answer))
        before = re.search(r'href="([^"]+)" rel="prev"', answer.text)
        path = html.unescape(before[1]) if before else ""
    assert back[::-1] == seen


def test_incomplete_and_conflicting_records_are_flagged_with_the_reason(web, admin):
    key = web.schedule(patient_birth_date="19610304", modality="")
    web.schedule(patient_birth_date="19610305", accession_number="A2")
    for path in ("/worklist", f"/worklist/{key}"):
        page = admin.get(path).text
        assert 'class="state attention"' in page or "Please check this record" in page
        assert "no modality" in page.lower() or "modality" in text_of(page)


@pytest.mark.parametrize("status", list(StepStatus))
def test_every_status_has_its_word(web, admin, status):
    key = web.schedule()
    web.run(web.worklist.set_status, [key], status, "test")
    chip = re.search(r'<span class="status[^>]*>.*?</span>', admin.get("/worklist").text, re.DOTALL)
    assert text_of(chip[0]) == worklist.STATUS_WORDS[status]


def test_s94_a_record_shows_every_field_its_history_and_its_message(web, admin):
    (verdict,) = web.receive(*MESSAGE)
    assert verdict.code == "AA"
    page = admin.get("/worklist/1").text
    side = text_of(page.split('class="split-side')[1])
    for name in FIELDS:
        assert worklist.worklist_form.label(name) in side
    for value in ("Müller, Jörg", "P7", "A77", "LOW DOSE MAMMOGRAPHY", "placed", "RIS", "F77"):
        assert value in side
    assert f'href="/hl7/messages/{verdict.key}"' in page


def test_a_record_says_why_each_value_is_what_it_is(web, admin):
    web.receive(*MESSAGE)
    side = admin.get("/worklist/1").text.split('class="split-side')[1]
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", side, re.DOTALL))
    assert "PID-3.1" in facts["Patient ID"]
    assert "PID-5" in facts["Patient Name"]
    assert "ORC-15" in facts["Start Date"]
    assert "OBR-18.1" in facts["Modality"]
    # What stands at other places of the mapping is told, too.
    assert "ORC-3" in facts["Accession Number"]
    assert "F77" in facts["Accession Number"]
    admin.submit("/worklist/1/edit", "/worklist/1/edit", {
        **typed(patient_id="P7", patient_name="Other^One"),
        "seen": admin.get("/worklist/1/edit").field("seen"),
    })  # fmt: skip
    side = admin.get("/worklist/1").text.split('class="split-side')[1]
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", side, re.DOTALL))
    assert "says" in facts["Patient Name"]
    assert "Müller" in facts["Patient Name"]


@pytest.mark.parametrize("key", ["0", "99", "x", "-1", "1.5", "9" * 30, "%00", "1;drop"])
def test_a_record_that_is_not_there(admin, key):
    for path in (f"/worklist/{key}", f"/worklist/{key}/edit", f"/worklist/new?from={key}",
                 f"/worklist/delete?records={key}", f"/worklist/send?records={key}",
                 f"/worklist/export?records={key}", f"/worklist/text?records={key}"):  # fmt: skip
        assert admin.get(path).status in (400, 404)


@pytest.mark.parametrize(
    "query",
    ["after=x", "after=20261121-101500-99999999999999999999", "before=--1", "order=sideways",
     "when=never", "status=BROKEN", "q=%25%27%3B--", "patient_id=%5C", "done=%3Cscript%3E",
     "done=deleted&count=%3Cscript%3E", "modality=" + "x" * 500, "q=" + "y+" * 900],
)  # fmt: skip
def test_strange_searches_are_answered(web, admin, query):
    web.schedule()
    answer = admin.get(f"/worklist?{query}")
    assert answer.status == 200
    assert "<script>" not in answer.text.replace("<script src", "")


def test_v1_hostile_values_are_text(web, admin):
    web.schedule(
        patient_id=HOSTILE[:60], patient_name="<b onclick=x>^{{7*192719}}",
        requested_procedure_description=HOSTILE[:60], scheduled_station_name="<i>",
        scheduled_procedure_step_comments=HOSTILE + "\r\n" + "\u202eturned",
    )  # fmt: skip
    for path in ("/worklist", "/worklist/1", "/worklist/1/edit", "/worklist/new?from=1",
                 "/worklist/delete?records=1", "/worklist/send?records=1",
                 "/worklist/text?records=1", "/worklist?q=" + "%3Cscript%3E"):  # fmt: skip
        answer = admin.get(path)
        assert answer.status == 200, path
        for mark in ("<script>", "<img", "<b onclick", "<i>", "1349033", "\u202e"):
            assert mark not in re.sub(r'"[0-9a-f]{64}"', "", answer.text), (path, mark)


# --- who may --------------------------------------------------------------------------------------

EDITING = [
    "/worklist/new", "/worklist/1/edit", "/worklist/delete?records=1", "/worklist/send?records=1",
    "/worklist/import", "/worklist/query",
]  # fmt: skip
CHANGING = [
    "/worklist/new", "/worklist/1/edit", "/worklist/delete", "/worklist/status", "/worklist/send",
    "/worklist/query", "/worklist/query/import",
]  # fmt: skip


def test_a_user_may_look_and_take_with_him_but_change_nothing(web):
    web.schedule()
    jane = web.logged_in()
    for path in ("/worklist", "/worklist/1"):
        page = jane.get(path)
        assert page.status == 200
        for words in ("Edit", "Delete", "Send Record", "Create New Record", "Cancel procedure"):
            assert words not in page.text
    assert jane.get("/worklist/export?records=1").status == 200
    assert jane.get("/worklist/text?records=1").status == 200
    for path in EDITING:
        assert jane.get(path).status == 403, path
    proof = jane.get("/worklist").field("proof")
    for path in CHANGING:
        assert jane.send(path, {"proof": proof, "r1": "on", **typed()}).status == 403, path
    assert upload(jane, {"proof": proof}, b"MSH|").status == 403
    assert len(web.sql("SELECT id FROM worklist_record")) == 1


def test_who_is_not_logged_in_is_asked_to(web):
    web.schedule()
    for path in ("/worklist", "/worklist/1", *EDITING):
        answer = web.browser().get(path)
        assert answer.status == 303
        assert answer.headers["Location"].startswith("/login?next=")
    for path in CHANGING:
        assert web.browser().send(path, {"r1": "on"}).status == 401
    assert upload(web.browser(), {}, b"x" * 1_500_000).status == 401


def test_w18_forms_of_others_change_nothing(web, admin):
    web.schedule()
    for path in (*CHANGING, "/worklist/selected"):
        fields = {"r1": "on", "status": "CANCELED", **typed(patient_name="Evil^One")}
        assert admin.send(path, fields).status == 403
        assert admin.send(path, {"proof": "0" * 64, **fields}).status == 403
        proof = admin.get("/worklist").field("proof")
        foreign = {"Origin": "http://evil.example"}
        assert admin.send(path, {"proof": proof, **fields}, foreign).status == 403
    assert upload(admin, {}, b"MSH|").status == 403
    assert stored(web, 1).step_status == "SCHEDULED"
    assert stored(web, 1).patient_name == "Doe^Jane"


# --- creating and editing -------------------------------------------------------------------------


def test_s101_a_record_is_created(web, admin):
    page = admin.get("/worklist/new").text
    for name in FIELDS:
        assert f'name="{name}"' in page
    assert page.count(" *</label>") == 3
    answer = admin.submit("/worklist/new", "/worklist/new", typed(
        patient_name="Müller, Jörg", patient_birth_date="1961-03-04", start_date="2026-11-22",
        start_time="14:30", modality="ct", scheduled_procedure_step_comments="one\r\ntwo",
    ))  # fmt: skip
    assert answer.status == 303
    assert answer.headers["Location"].startswith("/worklist/1?done=created")
    row = stored(web, 1)
    assert row.patient_name == "Müller^Jörg"
    assert (row.patient_birth_date, row.start_date, row.start_time) == (
        "19610304", "20261122", "143000")  # fmt: skip
    assert row.modality == "CT"
    assert row.study_instance_uid
    assert "The record was created." in admin.get(answer.headers["Location"]).text
    assert "admin" in text_of(admin.get("/worklist/1").text.split("History")[1])


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("patient_id", "", "This is needed"), ("patient_name", " ", "This is needed"),
        ("requested_procedure_id", "", "This is needed"), ("patient_id", "x" * 65, "64 characters"),
        ("accession_number", "x" * 17, "16 characters"), ("patient_birth_date", "soon", "date"),
        ("start_date", "2026-02-30", "date"), ("start_time", "25:00", "time"),
        ("study_instance_uid", "1.2.x", "UID"), ("modality", "C-T", "capitals"),
        ("scheduled_station_ae_title", "Müller", "ASCII"), ("patient_name", "a\\b", "backslash"),
        ("patient_name", "a^b^c^d^e^f", "components"), ("allergies", "a\x07b", "one line"),
        ("patient_sex", "X", "F, M or O"), ("start_date", "", "needed where"),
    ],
)  # fmt: skip
def test_s95_what_is_wrong_stands_at_the_field_and_nothing_typed_is_lost(
    web, admin, field, value, words
):
    fields = typed(medical_alerts="keep <this>", start_date="2026-11-22", start_time="10:00")
    answer = admin.submit("/worklist/new", "/worklist/new", {**fields, field: value})
    assert answer.status == 400
    assert "1 field needs your attention" in text_of(answer.text)
    assert f'href="#{field}"' in answer.text
    problem = re.search(rf'id="{field}-problem">(.*?)</p>', answer.text, re.DOTALL)
    assert words in text_of(problem[1])
    assert 'value="keep &lt;this&gt;"' in answer.text
    if value.strip() and value.isprintable() and field != "patient_sex":
        assert f'value="{value}"' in answer.text
    assert web.sql("SELECT id FROM worklist_record") == []


def test_a_record_is_edited_and_keeps_its_order_numbers(web, admin):
    web.receive(*MESSAGE)
    seen = admin.get("/worklist/1/edit").field("seen")
    answer = admin.submit("/worklist/1/edit", "/worklist/1/edit", {
        **typed(patient_id="P7", patient_name="Doe^Jane"), "seen": seen})  # fmt: skip
    assert answer.headers["Location"].startswith("/worklist/1?done=saved")
    row = stored(web, 1)
    assert (row.patient_name, row.filler_order_number) == ("Doe^Jane", "F77")
    assert row.sending_application == "RIS"


def test_saving_without_a_change_changes_nothing(web, admin):
    key = web.schedule(start_time="101530", scheduled_procedure_step_comments="one\r\ntwo")
    before = stored(web, key)
    page = admin.get(f"/worklist/{key}/edit")
    fields = {name: getattr(before, name) for name in FIELDS}
    fields["seen"] = page.field("seen")
    answer = admin.submit(f"/worklist/{key}/edit", f"/worklist/{key}/edit", fields)
    assert "done=unchanged" in answer.headers["Location"]
    assert stored(web, key) == before


def test_what_others_changed_meanwhile_is_shown_and_not_overwritten(web, admin):
    key = web.schedule(modality="CT")
    path = f"/worklist/{key}/edit"
    seen = admin.get(path).field("seen")
    record = WorklistRecord(patient_id="P1", patient_name="Doe^Jane", requested_procedure_id="R1",
                            start_date="20261121", start_time="101500", modality="MR")  # fmt: skip
    web.run(web.worklist.edit, key, record, "other")
    mine = typed(modality="US", start_date="2026-11-21", start_time="10:15")
    answer = admin.submit(path, path, {**mine, "seen": seen})
    assert answer.status == 409
    assert "changed meanwhile" in answer.text
    assert 'value="US"' in answer.text
    assert "Stored now: MR" in answer.text
    assert stored(web, key).modality == "MR"
    again = admin.submit(path, path, {**mine, "seen": answer.field("seen")})
    assert again.status == 303
    assert stored(web, key).modality == "US"


def test_s96_a_duplicate_begins_like_the_record_but_is_another_study(web, admin):
    key = web.schedule(modality="CT", study_instance_uid="1.2.3", accession_number="A1",
                       placer_order_number="PL1")  # fmt: skip
    page = admin.get(f"/worklist/new?from={key}")
    assert page.field("patient_name") == "Doe^Jane"
    assert page.field("modality") == "CT"
    assert page.field("study_instance_uid") == ""
    assert 'action="/worklist/new"' in page.text


# --- changing several -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("do", "boxes", "leads"),
    [
        ("view", [1], "/worklist/1?q=doe"), ("edit", [1], "/worklist/1/edit"),
        ("duplicate", [2], "/worklist/new?from=2"), ("send", [1, 2], "/worklist/send?records=1,2"),
        ("export", [1, 2], "/worklist/export?records=1,2"),
        ("text", [2], "/worklist/text?records=2"),
        ("delete", [1, 2], "/worklist/delete?records=1,2"),
        ("edit", [1, 2], "/worklist?q=doe&done=one&count=1"),
        ("delete", [], "/worklist?q=doe&done=none&count=1"),
    ],
)  # fmt: skip
def test_s92_the_buttons_lead_on_with_what_is_selected(web, admin, do, boxes, leads):
    web.schedule()
    web.schedule()
    fields = {"do": do, "search": "q=doe", **{f"r{n}": "on" for n in boxes}}
    answer = admin.submit("/worklist", "/worklist/selected", fields)
    assert answer.status == 303
    assert answer.headers["Location"] == leads


@pytest.mark.parametrize("search", ["//evil.example", "q=" + "x" * 5000, "\r\nX: y", "a=b&a=c&q"])
def test_the_search_that_is_carried_leads_nowhere_else(web, admin, search):
    web.schedule()
    answer = admin.submit("/worklist", "/worklist/selected", {"do": "delete", "search": search})
    assert answer.status == 303
    assert answer.headers["Location"].startswith("/worklist?")
    assert "X" not in answer.headers


def test_s100_records_are_deleted_after_it_was_said_which(web, admin):
    for name in ("Doe^Jane", "Müller^Jörg", "Roe^Richard"):
        web.schedule(patient_name=name)
    asked = admin.get("/worklist/delete?records=1,3,99")
    assert "Delete 2 records?" in text_of(asked.text)
    assert "Doe, Jane" in asked.text
    assert "Müller" not in asked.text
    assert len(web.sql("SELECT id FROM worklist_record")) == 3
    answer = admin.send(
        "/worklist/delete", {"proof": asked.field("proof"), "r1": "on", "r3": "on", "r99": "on"}
    )
    assert answer.headers["Location"] == "/worklist?done=deleted&count=2"
    assert [row.id for row in web.sql("SELECT id FROM worklist_record")] == [2]
    assert "2 records were deleted." in admin.get(answer.headers["Location"]).text


@pytest.mark.parametrize("status", ["ARRIVED", "CANCELED", "SCHEDULED"])
def test_the_status_is_set_by_hand(web, admin, status):
    for _ in range(2):
        web.schedule()
    web.run(web.worklist.set_status, [1], StepStatus.HELD, "test")
    answer = admin.submit(
        "/worklist", "/worklist/status", {"status": status, "r1": "on", "r2": "on"}
    )
    assert answer.headers["Location"].startswith("/worklist?done=status")
    assert {stored(web, key).step_status for key in (1, 2)} == {status}
    beside = admin.submit(
        "/worklist/1", "/worklist/status",
        {"status": "ARRIVED", "r1": "on", "from": "1", "search": "q=doe"},
    )  # fmt: skip
    assert beside.headers["Location"].startswith("/worklist/1?q=doe&done=status")


@pytest.mark.parametrize("status", ["COMPLETED", "STARTED", "", "nonsense"])
def test_other_statuses_are_not_set_by_hand(web, admin, status):
    web.schedule()
    answer = admin.submit("/worklist", "/worklist/status", {"status": status, "r1": "on"})
    assert answer.status == 404
    assert stored(web, 1).step_status == "SCHEDULED"


# --- out of the house -----------------------------------------------------------------------------


def test_s98_records_are_exported_as_a_file_of_messages(web, admin):
    web.schedule(patient_name="Müller^Jörg", accession_number="A1")
    web.schedule(accession_number="A2")
    answer = admin.get("/worklist/export?records=1,2")
    assert (
        answer.headers["Content-Disposition"] == 'attachment; filename="worklist-1-and-1-more.hl7"'
    )
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text.count("MSH|") == 2
    assert "Müller^Jörg" in answer.text
    assert "\n" not in answer.text
    web.run(web.worklist.delete, [1, 2], "test")
    (first, second) = web.run(web.receiver.take, answer.body, "127.0.0.1", "test")
    assert (first.code, second.code) == ("AA", "AA")
    assert [row.accession_number for row in web.sql(
        "SELECT accession_number FROM worklist_record ORDER BY id")] == ["A1", "A2"]  # fmt: skip


def test_s99_records_stand_as_text_to_be_copied(web, admin):
    web.schedule(patient_name="Doe^Jane & Co")
    page = admin.get("/worklist/text?records=1").text
    text = html.unescape(re.search(r"<textarea[^>]*>\n?(.*?)</textarea>", page, re.DOTALL)[1])
    assert [line[:3] for line in text.splitlines()][:2] == ["MSH", "PID"]
    assert "data-of" in page


def test_s97_records_go_to_a_node_through_its_queue(web, admin):
    async def add(tx):
        for node in (Node("RIS", "127.0.0.1", 788), Node("silent", "127.0.0.2", 0)):
            await nodes.add(tx, node)

    web.run(web.database.transaction, "test", add)
    web.schedule()
    web.schedule()
    page = admin.get("/worklist/send?records=1,2")
    assert "RIS (127.0.0.1, port 788)" in page.text
    assert "silent" not in page.text
    fields = {"r1": "on", "r2": "on", "node": "RIS", "application": "Santesoft", "facility": "ICU"}
    answer = admin.submit("/worklist/send?records=1,2", "/worklist/send", fields)
    assert answer.headers["Location"] == "/worklist?done=queued&count=2"
    assert web.woken

    async def look(tx):
        rows = await outgoing.page(tx)
        return [(row.node, row.origin) for row in rows], await outgoing.message(tx, rows[0].id)

    queued, message = web.run(web.database.transaction, "test", look)
    assert queued == [("RIS", "admin")] * 2
    assert message.raw.split(b"|")[4:6] == [b"Santesoft", b"ICU"]


@pytest.mark.parametrize(
    ("status", "control"), [("SCHEDULED", "NW"), ("CANCELED", "CA"), ("DISCONTINUED", "DC")]
)
def test_what_is_canceled_is_not_ordered_anew_elsewhere(web, admin, status, control):
    async def add(tx):
        await nodes.add(tx, Node("RIS", "127.0.0.1", 788))

    web.run(web.database.transaction, "test", add)
    web.schedule(step_status=StepStatus[status])
    fields = {"r1": "on", "node": "RIS", "application": "", "facility": ""}
    admin.submit("/worklist/send?records=1", "/worklist/send", fields)

    async def look(tx):
        return await outgoing.message(tx, (await outgoing.page(tx))[0].id)

    raw = web.run(web.database.transaction, "test", look).raw
    assert re.search(rb"ORC\|(..)", raw)[1].decode() == control


@pytest.mark.parametrize("node", ["silent", "gone"])
def test_a_node_that_takes_nothing_is_said(web, admin, node):
    async def add(tx):
        await nodes.add(tx, Node("silent", "127.0.0.2", 0))

    web.run(web.database.transaction, "test", add)
    web.schedule()
    fields = {"r1": "on", "node": node, "application": "typed"}
    answer = admin.submit("/worklist/send?records=1", "/worklist/send", fields)
    assert answer.status == 400
    assert "HL7 node" in text_of(answer.text)
    assert 'value="typed"' in answer.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "type a host"), ({"host": "127.0.0.1"}, "port is a number"),
        ({"host": "127.0.0.1", "port": "0"}, "port is a number"),
        ({"host": "127.0.0.1", "port": "65536"}, "port is a number"),
        ({"host": "127.0.0.1", "port": "²"}, "port is a number"),
        ({"host": "a b; rm -rf", "port": "788"}, "address or a host name"),
        ({"host": "x", "port": "788", "application": "y" * 200}, "At most 180"),
    ],
)  # fmt: skip
def test_o2_a_host_that_is_none_is_refused(web, admin, fields, words):
    web.schedule()
    answer = admin.submit("/worklist/send?records=1", "/worklist/send", {"r1": "on", **fields})
    assert answer.status == 400
    assert words in text_of(answer.text)


def test_a_record_goes_to_any_other_host_at_once(web, admin):
    web.schedule(patient_name="Müller^Jörg")
    with hl7_receiver() as receiver:
        fields = {"r1": "on", "host": "127.0.0.1", "port": str(receiver.port)}
        answer = admin.submit("/worklist/send?records=1", "/worklist/send", fields)
        assert answer.status == 200
        assert "AA" in text_of(answer.text)
        assert "Müller^Jörg".encode() in receiver.came[0]


def test_a_refusal_and_a_closed_port_are_told(web, admin):
    web.schedule()
    web.schedule()
    with hl7_receiver(lambda raw: acknowledgement(raw, "AE", "<b>unknown</b>")) as receiver:
        fields = {"r1": "on", "r2": "on", "host": "127.0.0.1", "port": str(receiver.port)}
        answer = admin.submit("/worklist/send?records=1,2", "/worklist/send", fields)
        assert answer.text.count("&lt;b&gt;unknown") == 2
    answer = admin.submit("/worklist/send?records=1,2", "/worklist/send", fields)
    assert "refuses connections" in answer.text
    assert "1 further record was not tried" in text_of(answer.text)


# --- into the house -------------------------------------------------------------------------------


def upload(browser, fields, content, name="orders.hl7", boundary="XyZ"):
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    if content is not None:
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n".encode()
            + content
            + b"\r\n"
        )
    body = b"".join(parts) + f"--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return browser.request("POST", "/worklist/import", body, kind)


def proof(browser):
    return {"proof": browser.get("/worklist/import").field("proof")}


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_s102_messages_of_a_file_are_imported_with_a_verdict_each(web, admin, end):
    good = end.join(MESSAGE) + end
    bad = good.replace("ORM^O01|MSG7", "XYZ^Z99|MSG8")
    answer = upload(admin, proof(admin), (good + bad).encode(), name='x"<xss>.hl7')
    assert answer.status == 200
    page = text_of(answer.text)
    assert "2 messages" in page
    assert re.search(r"1 AA .* 2 AR", page)
    assert "<xss>" not in answer.text
    assert stored(web, 1).patient_name == "Müller^Jörg"
    keys = re.findall(r'href="/hl7/messages/(\d+)"', answer.text)
    assert [row.actor for row in web.sql("SELECT actor FROM hl7_message ORDER BY id")] == [
        "admin"] * len(keys)  # fmt: skip


def test_a_pasted_message_is_imported(web, admin):
    text = "\r\n".join(MESSAGE)
    answer = upload(admin, {**proof(admin), "text": text}, None)
    assert "AA" in text_of(answer.text)
    assert stored(web, 1).patient_id == "P7"


def test_an_empty_choice_is_said_and_the_pasted_text_stays(web, admin):
    answer = upload(admin, {**proof(admin), "text": ""}, b"", name="")
    assert answer.status == 400
    assert "Choose a file" in answer.text


def test_w9_a_file_that_is_too_large_is_refused_before_it_is_read(web, admin):
    connection = web.connect()
    cookies = "; ".join(f"{k}={v}" for k, v in admin.cookies.items())
    head = (
        "POST /worklist/import HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4294967295\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nCookie: {cookies}\r\n\r\n"
    )
    connection.sendall(head.encode() + b"x" * 1000)
    assert connection.recv(100).startswith(b"HTTP/1.1 413")
    connection.close()
    content = b"MSH|" + b"x" * 2_100_000
    answer = upload(admin, proof(admin), content)
    assert answer.status == 400
    assert "At most 2.0 MB" in answer.text
    web.alive()


def test_a_file_just_under_the_limit_is_taken(web, admin):
    message = ("\r".join(MESSAGE) + "\r").encode()
    note = b"NTE|1||" + b"x" * 60_000 + b"\r"
    content = message + note * 32
    assert 1_900_000 < len(content) < 2_000_000
    answer = upload(admin, proof(admin), content)
    assert answer.status == 200
    assert "AA" in text_of(answer.text)


PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
HOSTILE_BODIES = {
    "no boundary in the body": (b"hello", "multipart/form-data; boundary=x"),
    "no boundary in the header": (b"--x--", "multipart/form-data"),
    "an empty boundary": (b"----", 'multipart/form-data; boundary=""'),
    "a long boundary": (b"--" + b"y" * 300, f"multipart/form-data; boundary={'y' * 300}"),
    "cut off": (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nzz',
                "multipart/form-data; boundary=x"),
    "60,000 parts": (PART * 60_000 + b"--x--", "multipart/form-data; boundary=x"),
    "a header of a megabyte": (b"--x\r\nX: " + b"h" * 1_000_000 + b"\r\n\r\n\r\n--x--",
                               "multipart/form-data; boundary=x"),
    "many headers": (b"--x\r\n" + b"X: h\r\n" * 100_000 + b"\r\n\r\n--x--",
                     "multipart/form-data; boundary=x"),
    "nested": (b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y--\r\n--x--",
               "multipart/form-data; boundary=x"),
    "no name": (b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--",
                "multipart/form-data; boundary=x"),
    "twice": (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 2 + b"--x--",
              "multipart/form-data; boundary=x"),
    "not UTF-8": (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--',
                  "multipart/form-data; boundary=x"),
    "NUL": (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\0\r\n--x--',
            "multipart/form-data; boundary=x"),
    "a file name of 100 kB": (b'--x\r\nContent-Disposition: form-data; name="f"; filename="'
                              + b"n" * 100_000 + b'"\r\n\r\na\r\n--x--',
                              "multipart/form-data; boundary=x"),
    "no parts": (b"--x--\r\n", "multipart/form-data; boundary=x"),
    "a plain form": (b"text=x", "application/x-www-form-urlencoded"),
    "JSON": (b"{}", "application/json"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_BODIES)
def test_w10_a_hostile_form_is_refused(web, admin, name):
    body, kind = HOSTILE_BODIES[name]
    answer = admin.request("POST", "/worklist/import", body, {"Content-Type": kind})
    assert answer.status in (400, 403, 413, 415)
    web.alive()
    assert web.sql("SELECT id FROM hl7_message") == []


@pytest.mark.parametrize("name", ["../../x.hl7", "a\\b.hl7", "C:\\x.hl7", "%0d%0aX: y"])
def test_a_file_name_is_only_shown(web, admin, name):
    answer = upload(admin, proof(admin), ("\r".join(MESSAGE)).encode(), name=name)
    assert answer.status == 200
    assert "X" not in answer.headers


def test_s103_another_worklist_is_asked_and_what_is_chosen_comes_in(web, admin):
    web.other_worklist = [
        WorklistRecord(patient_id="P1", patient_name="Doe^Jane", requested_procedure_id="R1",
                       start_date="20261121", start_time="101500", accession_number="A1"),
        WorklistRecord(patient_id="P2", patient_name="Müller^Jörg", requested_procedure_id="R2",
                       start_date="20261121", start_time="111500", accession_number="A2"),
    ]  # fmt: skip
    fields = {"ae_title": "OTHER", "host": "127.0.0.1", "port": "11113", "date_from": "2026-11-21",
              "date_to": "2026-11-22", "patient_name": "mül", "modality": "ct",
              "station_ae_title": "CT1", "patient_birth_date": "1961-03-04"}  # fmt: skip
    answer = admin.submit("/worklist/query", "/worklist/query", fields)
    assert answer.status == 200
    assert "2 records from OTHER" in text_of(answer.text)
    ((peer, query, _),) = web.asked
    assert (peer.ae_title, peer.host, peer.port) == ("OTHER", "127.0.0.1", 11113)
    (step,) = query.steps
    assert (step.start_date_from, step.start_date_to) == ("20261121", "20261122")
    assert (step.modalities, step.station_ae_titles) == (("CT",), ("CT1",))
    assert (query.patient_name, query.patient_birth_date_from) == ("mül*", "19610304")
    assert web.sql("SELECT id FROM worklist_record") == []
    kept = {"proof": answer.field("proof"), "found": answer.field("found")}
    imported = admin.send("/worklist/query/import", {**kept, "f1": "on"})
    assert imported.headers["Location"] == "/worklist?done=imported&count=1"
    assert stored(web, 1).patient_name == "Müller^Jörg"
    assert "done=none" in admin.send("/worklist/query/import", kept).headers["Location"]


def test_what_cannot_be_kept_is_said_before_it_is_chosen(web, admin):
    web.other_worklist = [WorklistRecord(patient_id="P1", patient_name="Doe^Jane")]
    fields = {"ae_title": "OTHER", "host": "127.0.0.1", "port": "11113"}
    answer = admin.submit("/worklist/query", "/worklist/query", fields)
    assert "REQUESTED PROCEDURE ID is missing" in answer.text
    assert 'name="f0"' not in answer.text


def test_o3_a_server_that_cannot_be_asked_is_told_and_nothing_typed_is_lost(web, admin):
    web.other_worklist = Unavailable("OTHER <b>does not answer")
    fields = {"ae_title": "OTHER", "host": "127.0.0.1", "port": "11113", "patient_name": "mül"}
    answer = admin.submit("/worklist/query", "/worklist/query", fields)
    assert "OTHER &lt;b&gt;does not answer." in answer.text
    assert 'value="mül"' in answer.text


@pytest.mark.parametrize(
    "fields",
    [
        {"port": "0"}, {"port": "x"}, {"ae_title": ""}, {"ae_title": "a" * 17}, {"host": ""},
        {"host": "a b"}, {"date_from": "soon"}, {"peer": "GONE"},
    ],
)  # fmt: skip
def test_o2_a_server_that_is_none_is_not_asked(web, admin, fields):
    given = {"ae_title": "OTHER", "host": "127.0.0.1", "port": "11113", **fields}
    answer = admin.submit("/worklist/query", "/worklist/query", given)
    assert answer.status == 400
    assert "attention" in answer.text
    assert web.asked == []


def test_more_than_fits_is_said(web, admin):
    web.other_worklist = [
        WorklistRecord(patient_id=f"P{n}", patient_name="Doe^Jane", requested_procedure_id=f"R{n}")
        for n in range(200)
    ]
    fields = {"ae_title": "OTHER", "host": "127.0.0.1", "port": "11113"}
    answer = admin.submit("/worklist/query", "/worklist/query", fields)
    assert "The first 80 are shown" in text_of(answer.text)
    kept = {"proof": answer.field("proof"), "found": answer.field("found")}
    every = {f"f{n}": "on" for n in range(80)}
    imported = admin.send("/worklist/query/import", {**kept, **every})
    assert imported.headers["Location"] == "/worklist?done=imported&count=80"


@pytest.mark.parametrize(
    "found",
    ["x", "{}", "[1]", '[{"step_status": "COMPLETED"}]', '[{"patient_id": 5}]', "[" * 100_000,
     '[{"patient_id": "\\u0000"}]', '[{"id": "1"}]', '[{"placer_order_number": "\\ud800"}]',
     '[{"patient_name": "\\udfff"}]', "[" + "9" * 10_000 + "]"],
)  # fmt: skip
def test_what_was_not_found_there_does_not_come_in(web, admin, found):
    fields = {"proof": admin.get("/worklist/query").field("proof"), "found": found, "f0": "on"}
    assert admin.send("/worklist/query/import", fields).status == 400
    assert web.sql("SELECT id FROM worklist_record") == []
