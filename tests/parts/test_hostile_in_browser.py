"""Hostile and overlong values in a real browser: nothing runs, nothing breaks the layout (V-1)."""

import pytest

from support.browser import CONTRAST, UNNAMED, log_in
from support.web import running_web

SCRIPT = '<script>alert(1)</script>"><img src=x onerror=alert(2)>'
LONG = "W" * 64
PAGES = [
    "/worklist", "/worklist/1", "/worklist/1/edit", "/worklist/delete?records=1,2",
    "/worklist/text?records=1,2", "/worklist/send?records=1,2", "/hl7", "/hl7/messages/1",
    "/hl7/messages/2", "/hl7/messages/1/correct", "/hl7/compose?message=1",
    "/hl7/mapping?message=1",
    "/hl7/compare?first=1&second=2", "/hl7/nodes", "/hl7/scanner?ae_title=CT01&record=1",
]  # fmt: skip


@pytest.fixture
def web(reactor_thread, database_dsn, tmp_path):
    with running_web(reactor_thread, database_dsn.runtime, tmp_path) as running:
        running.user("admin", administrator=True)
        running.receive(
            f"MSH|^~\\&|{LONG}|{'Many words ' * 20}|||20261121||ORM^O01|{LONG}|P|2.3.1",
            f"PID|||{'9' * 64}||{LONG}^{SCRIPT}||19011231|F",
            f"ORC|NW|{LONG}|F77||||||||||||20261121130000",
            f"OBR|1|||5355^{LONG}||||||||||||{LONG}^Richard||MR|||{'W' * 16}",
        )
        running.receive(
            f"MSH|^~\\&|{SCRIPT}|{'x' * 3000}|||20261121||ORM^{SCRIPT}|2|P|2.3.1", f"ZZZ|{SCRIPT}"
        )
        running.schedule(
            patient_name=LONG, patient_id=LONG, accession_number="W" * 16,
            scheduled_station_ae_title="W" * 16, scheduled_station_name="W" * 16,
            scheduled_procedure_step_comments=f"{SCRIPT}\n{LONG * 10}", medical_alerts=SCRIPT,
        )  # fmt: skip
        running.sql(
            "INSERT INTO hl7_node (name, host, port) VALUES (%s, %s, 2575)", SCRIPT, "h" * 200
        )
        yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_hostile_values_are_readable_and_fit(open_page, scheme, width):
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    dialogs = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    log_in(page)
    for path in PAGES:
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.evaluate(CONTRAST, 4.5) == [], path
        assert page.evaluate(UNNAMED) == [], path
    assert dialogs == []


def test_an_overlong_name_does_not_push_the_list_under_its_neighbour(open_page):
    page = open_page(viewport={"width": 1280, "height": 800})
    log_in(page)
    for path in ("/worklist", "/worklist/1"):
        page.goto(path)
        table = page.locator("table.worklist").bounding_box()
        side = page.locator(".split-side").first.bounding_box()
        assert table["x"] + table["width"] <= side["x"], path
    page.goto("/hl7")
    assert page.locator("td.stretch").first.bounding_box()["width"] > 100
