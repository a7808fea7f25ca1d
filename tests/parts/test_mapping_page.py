"""The mapping page over real HTTP, and by keyboard in a real browser."""

import json
import os
import re
import shutil

import pytest

from santepacs.db import facts
from santepacs.worklist import mapping_json
from santepacs.worklist.mapping import DEFAULT, PRESETS, FieldMapping, Mappings, Row
from support.browser import CHROMIUM_ARGUMENTS
from support.hl7_pages import HERE, MappingForm, orm
from support.web import PASSWORD, running_web

TWO = FieldMapping((Row("patient_id", "PID", 3), Row("patient_id", "PID", 2)))


@pytest.fixture
def web(reactor_thread, database_dsn, tmp_path):
    with running_web(reactor_thread, database_dsn.runtime, tmp_path) as running:
        yield running


@pytest.fixture
def browser(web):
    return web.logged_in("boss", administrator=True)


def saved(web):
    async def work(tx):
        return await facts.hl7_mapping(tx)

    kept = web.run(web.database.transaction, "test", work)
    return kept and mapping_json.parsed(kept, "it")


def save(web, mappings):
    async def work(tx):
        await facts.keep_hl7_mapping(tx, mapping_json.written(mappings))

    web.run(web.database.transaction, "test", work)


def test_s71_s74_the_default_mapping_and_what_it_gives_stand_side_by_side(web, browser):
    web.receive(*orm())
    page = MappingForm(browser)
    assert page.mappings == Mappings(DEFAULT)
    assert "PATIENT ID PID-3.1 edit ID1" in page.text
    assert "PATIENT NAME PID-5 edit Παπαδοπουλου^Μαρια^^Dr" in page.text
    assert "START DATE - TIME ORC-15.1 edit 20261121 093000" in page.text
    assert "Changed, not saved" not in page.text


def test_without_a_message_there_is_a_table_all_the_same(browser):
    page = MappingForm(browser)
    assert "PATIENT ID PID-3.1" in page.text
    pasted = page.press("show", message="", sample="\n".join(orm(7)))
    assert "PATIENT ID PID-3.1 edit ID7" in pasted.text
    broken = page.press("show", sample="what is this")
    assert "does not begin with MSH" in broken.text


def test_s74_a_sample_file_is_opened(browser):
    content = "\r".join(orm(5)).encode()
    page = MappingForm(browser).press("show", files={"sample_file": content})
    assert "PATIENT ID PID-3.1 edit ID5" in page.text
    assert "ORC|NW|A5" in page.fields()["sample"]


def test_a_clicked_value_is_offered_and_fills_a_row(web, browser):
    web.receive(*orm())
    page = MappingForm(browser).press("pick:PID-7.1")
    assert "PID-7.1 could feed" in page.text
    offered = re.findall(r'id="feed-(\w+)"', page.answer.text)
    assert "patient_birth_date" in offered
    assert "start" in offered
    assert "patient_sex" not in offered
    assert "requested_procedure_priority" not in offered
    page.press("feed:requested_timing")
    assert page.mappings.default.rows[-1] == Row("requested_timing", "PID", 7)
    assert "Changed, not saved yet" in page.text
    assert saved(web) is None


def test_a_clicked_value_goes_into_the_open_row(web, browser):
    web.receive(*orm())
    save(web, Mappings(TWO))
    page = MappingForm(browser).press("select:1").press("pick:PID-3.4")
    assert page.mappings.default.rows == (
        Row("patient_id", "PID", 3),
        Row("patient_id", "PID", 3, 4),
    )
    page.press("close").press("pick:ORC-1.1").press("close")
    assert len(page.mappings.default.rows) == 2


def test_a_row_is_edited_moved_and_removed(web, browser):
    save(web, Mappings(TWO))
    page = MappingForm(browser).press("select:0")
    page.press(
        "close",
        segment="zpi",
        position="12",
        component="0",
        repetition="2",
        subcomponent="",
        field="allergies",
    )
    assert page.mappings.default.rows[0] == Row("allergies", "ZPI", 12, 0, 2, 0)
    page = MappingForm(browser).press("down:0")
    assert page.mappings.default.rows == TWO.rows[::-1]
    page.press("down:1").press("up:0")
    assert page.mappings.default.rows == TWO.rows[::-1]
    page.press("up:1")
    assert page.mappings.default.rows == TWO.rows
    page.press("remove:0")
    assert page.mappings.default.rows == TWO.rows[1:]
    page.press("add", new_field="modality")
    assert page.mappings.default.rows[-1].field == "modality"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"segment": "PI"}, "a segment has a name of three letters"),
        ({"segment": "<b>"}, "a segment has a name of three letters"),
        ({"position": "0"}, "position is a number from 1 to 999"),
        ({"position": "x"}, "position is a number from 1 to 999"),
        ({"component": "100"}, "component is a number from 0 to 99"),
        ({"repetition": "0"}, "repetition is a number from 1 to 99"),
        ({"field": "nothing"}, "choose a field"),
    ],
)
def test_an_impossible_row_is_said_and_not_taken(web, browser, changes, said):
    save(web, Mappings(TWO))
    page = MappingForm(browser).press("select:0")
    page.press("save", **changes)
    assert page.answer.status == 400
    assert said in page.text
    assert page.mappings == Mappings(TWO)
    assert saved(web) == Mappings(TWO)


def test_s77_default_and_presets_are_loaded(web, browser):
    save(web, Mappings(TWO))
    page = MappingForm(browser).press("default")
    assert page.mappings == Mappings(DEFAULT)
    page.press("preset", preset="IHE OMI 2.5.1")
    assert page.mappings == Mappings(PRESETS["IHE OMI 2.5.1"])
    assert saved(web) == Mappings(TWO)


def test_a_sender_has_a_mapping_of_its_own(web, browser):
    web.receive(*orm())
    page = MappingForm(browser).press("add-sender", new_application="RIS", new_facility="")
    page.press("preset", preset="IHE ORM 2.3.1")
    page.press("save")
    assert saved(web) == Mappings(DEFAULT, {("RIS", ""): PRESETS["IHE ORM 2.3.1"]})
    page = MappingForm(browser, f"{HERE}?sender=RIS")
    assert 'aria-pressed="true">RIS<' in page.answer.text
    page.press("tab:\n")
    assert "PATIENT ID PID-3.1 edit" in page.text
    page.press("tab:RIS\n").press("remove-sender").press("save")
    assert saved(web) == Mappings(DEFAULT)
    nameless = MappingForm(browser).press("add-sender", new_application=" ", new_facility="")
    assert "name the sending application" in nameless.text


def test_what_a_change_would_do_stands_there_before_it_is_saved(web, browser):
    web.receive(*orm(1))
    web.receive(*orm(2))
    page = MappingForm(browser).press("preview")
    assert "2 messages tried: nothing would be read otherwise" in page.text
    rows = [row for row in DEFAULT.rows if row.field != "modality"]
    state = mapping_json.written(Mappings(FieldMapping((*rows, Row("modality", "PID", 8)))))
    page.press("preview", mapping=state)
    assert "2 messages of 2 would be read otherwise" in page.text
    assert "MODALITY CT –" in page.text
    state = mapping_json.written(Mappings(FieldMapping((Row("patient_id", "ZZZ", 1),))))
    page.press("preview", mapping=state)
    assert re.search(r"Message 2 AA → AE PID-3 no patient identifier", page.text)
    assert saved(web) is None


def test_a_saved_mapping_is_kept_whole(web, browser):
    web.receive(*orm())
    page = MappingForm(browser).press("pick:OBR-4.1").press("feed:allergies").press("save")
    assert page.answer.headers["Location"] == f"{HERE}?saved&message=1"
    assert saved(web).default.rows == (*DEFAULT.rows, Row("allergies", "OBR", 4))
    again = MappingForm(browser, f"{HERE}?saved&message=1")
    assert "Saved." in again.text
    assert again.mappings == saved(web)


def test_s75_s76_export_and_import(web, browser):
    page = MappingForm(browser).press("export")
    assert page.answer.headers["Content-Disposition"] == 'attachment; filename="hl7-mapping.json"'
    exported = page.answer.body
    assert mapping_json.parsed(exported.decode(), "it") == Mappings(DEFAULT)
    one = {"format": 1, "rows": [{"field": "patient_id", "segment": "PID", "position": 9}]}
    page = MappingForm(browser).press("import", files={"import_file": json.dumps(one).encode()})
    assert page.mappings.default.rows == (Row("patient_id", "PID", 9),)
    assert saved(web) is None
    page.press("import", files={"import_file": exported})
    assert page.mappings == Mappings(DEFAULT)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[]", b"{" * 100_000, b'{"format": 3}', b'{"format": 1, "rows": [{}]}'],
)
def test_a_file_that_is_no_mapping_changes_nothing(web, browser, content):
    save(web, Mappings(TWO))
    page = MappingForm(browser).press("import", files={"import_file": content})
    assert page.mappings == Mappings(TWO)
    if content:
        assert page.answer.status == 400
        assert "This cannot be:" in page.text


@pytest.mark.parametrize(
    "fields",
    [
        {"mapping": ""},
        {"mapping": "{}"},
        {"do": "feed:modality"},
        {"do": "feed:<b>"},
        {"do": "pick:<script>"},
        {"do": "pick:PID-9999"},
        {"do": "select:99999"},
        {"do": "select:-1"},
        {"do": "remove:999"},
        {"do": "up:77"},
        {"do": "tab:nobody\n"},
        {"do": "preset:nothing"},
        {"do": "remove-sender"},
        {"do": "zzz"},
        {"selected": "99999"},
        {"picked": "<script>alert(1)</script>"},
        {"message": "99"},
        {"message": "<b>"},
        {"sender": "<script>alert(1)</script>"},
    ],
)
def test_what_the_page_does_not_send_harms_nothing(web, browser, fields):
    save(web, Mappings(TWO))
    page = MappingForm(browser).press(
        fields.get("do", "x"), **{k: v for k, v in fields.items() if k != "do"}
    )
    assert page.answer.status in (200, 400)
    assert "<script>alert" not in page.answer.text
    assert saved(web) == Mappings(TWO)


def test_a_saved_mapping_leads_back_to_its_message_and_nowhere_else(web, browser):
    web.receive(*orm())
    for message, leads in (
        ("1", f"{HERE}?saved&message=1"),
        ("9" * 100_000, f"{HERE}?saved"),
        ("1\r\nX: y", f"{HERE}?saved"),
    ):
        page = MappingForm(browser).press("save", message=message)
        assert page.answer.headers["Location"] == leads


def test_a_message_opens_the_mapping_that_reads_it(web, browser):
    web.receive(*orm())
    save(web, Mappings(DEFAULT, {("RIS", ""): TWO}))
    assert MappingForm(browser, f"{HERE}?message=1").fields()["sender"] == "RIS\n"
    save(web, Mappings(DEFAULT, {("OTHER", ""): TWO}))
    assert MappingForm(browser, f"{HERE}?message=1").fields()["sender"] == "\n"


def test_hostile_senders_and_values_are_text(web, browser):
    text = "<script>alert(1)</script>"
    web.receive(f'MSH|^~\\&|{text}|"><img src=x>|||1||ORM^O01|1|P|2.3', f"PID|1||{text}||{text}")
    save(web, Mappings(TWO, {(text, '"><img src=x>'): TWO}))
    page = MappingForm(browser).press("pick:PID-3.1").press("select:0").press("preview")
    assert page.answer.status == 200
    assert "<script>alert" not in page.answer.text
    assert "<img" not in page.answer.text


# --- in a browser ---------------------------------------------------------------------------------


def missing(what):
    message = f"{what} is not installed: the mapping page is not tried in a browser"
    if os.environ.get("SANTEPACS_REQUIRE_ALL") == "1":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="module")
def chromium():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        missing("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, web):
    """A logged-in administrator's page; fails on anything in its console."""
    web.user("admin", administrator=True)
    contexts, complaints = [], []

    def opened(**options):
        context = chromium.new_context(base_url=f"http://127.0.0.1:{web.port}", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto("/login")
        page.get_by_label("User name").fill("admin")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/search")
        return page

    yield opened
    for context in contexts:
        context.close()
    # A console also tells of answers such as 400, which pages give to what is typed wrong.
    assert [
        c
        for c in complaints
        if "Failed to load resource" not in c and "Autofocus processing was blocked" not in c
    ] == []


def test_a_value_is_mapped_by_keyboard_alone(open_page, web):
    web.receive(*orm())
    page = open_page()
    page.goto(HERE)
    page.evaluate("window.stays = true")
    page.locator("#pick-2-7").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#offers:focus")
    page.locator("#feed-requested_timing").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#segment:focus")
    page.keyboard.press("Tab")
    page.keyboard.press("Control+a")
    page.keyboard.type("8")
    page.wait_for_selector(".editor .help:has-text('Finds F')")
    assert page.evaluate("document.activeElement.id") == "position"
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Changed, not saved yet")
    page.locator("#done").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".editor", state="detached")
    assert page.evaluate("window.stays")
    page.locator("#preview").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("text=1 message of 1 would be read otherwise")
    page.locator("#save").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/hl7/mapping?saved*")
    assert saved(web).default.rows[-1] == Row("requested_timing", "PID", 8)


def test_the_mapping_is_changed_without_javascript(open_page, web):
    web.receive(*orm())
    page = open_page(java_script_enabled=False)
    page.goto(HERE)
    page.locator("#pick-4-18").click()
    page.locator("#feed-allergies").click()
    page.get_by_label("Position").fill("21")
    page.locator("#done").click()
    page.locator("#save").click()
    assert saved(web).default.rows[-1] == Row("allergies", "OBR", 21)


def test_the_log_is_alive(open_page, web):
    page = open_page()
    page.goto("/hl7")
    page.wait_for_selector("text=No messages yet")
    web.receive(*orm())
    page.wait_for_selector("text=ID1", timeout=10_000)
    page.locator("#m1").focus()
    web.receive(*orm(2))
    page.wait_for_selector("#m2", timeout=10_000)
    assert page.evaluate("document.activeElement.id") == "m1"


def test_a_text_is_judged_while_it_is_typed(open_page, web):
    page = open_page()
    page.goto("/hl7/compose?template=ORM:+new+order")
    page.wait_for_selector("text=AA: would be accepted")
    box = page.get_by_label("Message, one segment a line")
    box.fill(box.input_value().replace("DEMO-1001", ""))
    page.wait_for_selector("text=AE: must be mended")
    assert "DEMO-A1" in box.input_value()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_tools_are_readable_fit_and_name_everything(open_page, web, scheme, width):
    from parts.test_pages_in_browser import CONTRAST

    web.receive(*orm(1))
    web.receive(*orm(2), "NTE|1||" + "word" * 200)
    web.receive("no message \x1b")
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    unnamed = """() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea")]
      .filter((e) => !e.labels?.length && !e.hidden).map((e) => e.name)
      .concat([...document.querySelectorAll("button, a")]
        .filter((e) => !(e.getAttribute("aria-label") || e.textContent).trim())
        .map((e) => e.outerHTML))"""
    for path in (
        "/hl7",
        "/hl7/messages/2",
        "/hl7/messages/3",
        "/hl7/messages/2/correct",
        "/hl7/compose?message=1",
        "/hl7/compare?first=1&second=2",
        HERE,
        "/hl7/uids",
        "/hl7/nodes",
        "/hl7/outgoing",
        "/hl7/scanner?ae_title=CT01",
    ):
        page.goto(path)
        assert page.evaluate(CONTRAST, 4.5) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.evaluate(unnamed) == [], path
        assert page.locator("h1").count() == 1, path
