"""The worklist in a real browser: readable, by keyboard, on a phone, without JavaScript."""

from datetime import datetime

import pytest

from support.browser import CONTRAST, UNNAMED, log_in
from support.web import running_web

TODAY = f"{datetime.now().astimezone():%Y%m%d}"
PAGES = [
    "/worklist", "/worklist?q=doe&patient_id=P", "/worklist?q=zzz", "/worklist/1", "/worklist/3",
    "/worklist/new", "/worklist/1/edit", "/worklist/new?from=2", "/worklist/delete?records=1,2",
    "/worklist/send?records=1", "/worklist/text?records=1,2", "/worklist/import",
    "/worklist/query", "/worklist?done=none", "/worklist?done=deleted&count=2",
]  # fmt: skip


@pytest.fixture
def web(reactor_thread, database_dsn, tmp_path):
    with running_web(reactor_thread, database_dsn.runtime, tmp_path) as running:
        running.user("admin", administrator=True)
        names = ("Doe^Jane", "Müller^Jörg")
        for number, name in enumerate(names, 1):
            running.schedule(
                patient_name=name, patient_id=f"P{number}", modality="CT", start_date=TODAY,
                start_time=f"1{number}0000", accession_number=f"A{number}",
                requested_procedure_description="ADMINISTRATION OF IODINATED CONTRAST MEDIA",
                scheduled_station_ae_title="FUSION2279-2", requesting_physician_name="Roe^Richard",
            )  # fmt: skip
        running.receive(
            "MSH|^~\\&|RIS|WARD|||20261121||ORM^O01|M1|P|2.3.1",
            "PID|||PX||Featherstonehaugh-Cholmondeley^Alexandrina Wilhelmina^^^Prof.||19011231|F",
            f"ORC|NW|A77|F77||||||||||||{TODAY}130000",
            "OBR|1|||5355^WHOLE BODY||||||||||||Roe^Richard||MR|||MR1",
        )
        yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_worklist_is_readable_and_fits(open_page, scheme, width):
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    log_in(page)
    for path in PAGES:
        page.goto(path)
        assert page.evaluate(CONTRAST, 4.5) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.locator("h1").count() == 1, path
        assert page.evaluate(UNNAMED) == [], path


def test_the_list_beside_a_record_does_not_lie_under_it(open_page):
    page = open_page(viewport={"width": 1280, "height": 800})
    log_in(page)
    for path in ("/worklist", "/worklist/3"):
        page.goto(path)
        table = page.locator("table.worklist").bounding_box()
        side = page.locator(".split-side").first.bounding_box()
        assert table["x"] + table["width"] <= side["x"], path


def test_the_way_through_the_worklist_by_keyboard_alone(open_page):
    page = open_page(viewport={"width": 1280, "height": 800})
    log_in(page)
    page.goto("/worklist")
    page.keyboard.press("/")
    page.wait_for_function("document.activeElement.id == 'q'")
    page.keyboard.type("today ct")
    page.keyboard.press("Enter")
    page.wait_for_url("**/worklist?q=today+ct&*")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent").strip() == "Doe, Jane"
    assert page.get_by_role("button", name="Delete Record").is_disabled()
    page.keyboard.press("Space")
    assert page.get_by_role("status").filter(has_text="1 selected").is_visible()
    assert page.get_by_role("button", name="Edit Record").is_enabled()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Space")
    assert page.get_by_role("status").filter(has_text="2 selected").is_visible()
    assert page.get_by_role("button", name="Edit Record").is_disabled()
    assert page.get_by_role("button", name="Delete Record").is_enabled()
    page.keyboard.press("Enter")
    page.wait_for_url("**/worklist/2?q=today+ct")
    assert page.get_by_role("heading", level=1).inner_text() == "Müller, Jörg"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/worklist/1?q=today+ct")
    page.keyboard.press("Escape")
    page.wait_for_url("**/worklist?q=today+ct")


def test_a_record_is_copied_as_hl7(open_page):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    log_in(page)
    page.goto("/worklist/1")
    page.get_by_role("link", name="Copy", exact=True).click()
    page.get_by_role("button", name="Copy").click()
    page.get_by_text("Copied", exact=True).wait_for()
    lines = page.evaluate("navigator.clipboard.readText()").splitlines()
    assert [line[:4] for line in lines[:3]] == ["MSH|", "PID|", "ORC|"]


def test_where_the_clipboard_is_closed_the_text_is_selected(open_page):
    page = open_page()
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    log_in(page)
    page.goto("/worklist/text?records=1")
    page.get_by_role("button", name="Copy").click()
    page.wait_for_function("document.activeElement.id == 'messages'")
    assert page.evaluate("getSelection().toString()").startswith("MSH|")


def test_everything_is_done_without_javascript_on_a_phone(open_page, web, tmp_path):
    page = open_page(java_script_enabled=False, viewport={"width": 360, "height": 740})
    log_in(page)
    page.get_by_role("link", name="Worklist").click()
    page.get_by_role("link", name="Create New Record").click()
    page.get_by_label("Patient ID *").fill("P9")
    page.get_by_label("Requested Procedure ID *").fill("R9")
    page.get_by_role("button", name="Create record").click()
    page.get_by_text("1 field needs your attention").wait_for()
    assert page.get_by_label("Patient ID *").input_value() == "P9"
    page.get_by_label("Patient Name *").fill("Roe, Richard")
    page.get_by_role("button", name="Create record").click()
    page.get_by_text("The record was created.").wait_for()
    assert page.get_by_role("heading", level=1).inner_text() == "Roe, Richard"
    page.get_by_role("button", name="Patient has arrived").click()
    page.get_by_text("The status was changed.").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Export").click()
    download.value.save_as(tmp_path / "record.hl7")
    assert (tmp_path / "record.hl7").read_bytes().startswith(b"MSH|")
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete 1 record").click()
    page.get_by_text("1 record was deleted.").wait_for()
    page.get_by_role("checkbox", name="Select Doe, Jane").check()
    page.get_by_role("checkbox", name="Select Müller, Jörg").check()
    page.get_by_role("button", name="Cancel procedure").click()
    page.get_by_text("The status of 2 records was changed.").wait_for()
    page.get_by_role("link", name="Import HL7 Data From File").click()
    page.get_by_label("File (").set_input_files(tmp_path / "record.hl7")
    page.get_by_role("button", name="Import").click()
    page.get_by_text("1 message in record.hl7").wait_for()
    page.get_by_role("link", name="Show the worklist").click()
    assert page.get_by_role("link", name="Roe, Richard").is_visible()
