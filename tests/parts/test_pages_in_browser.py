"""The pages in a real browser: readable, reachable by keyboard, working without JavaScript."""

import zipfile

import pytest

from support.browser import CONTRAST, UNNAMED, log_in
from support.web import PASSWORD, running_web


@pytest.fixture
def web(reactor_thread, database_dsn, tmp_path):
    with running_web(reactor_thread, database_dsn.runtime, tmp_path) as running:
        running.user("admin", administrator=True)
        running.store(
            {"patient_name": "Doe^Jane", "study_date": "20261120", "study_description": "Thorax"},
            {
                "patient_id": "P2", "study_instance_uid": "1.2.4", "series_instance_uid": "1.2.4.1",
                "patient_name": "Featherstonehaugh-Cholmondeley^Alexandrina Wilhelmina^^Prof.",
                "study_date": "20261119", "patient_birth_date": "19011231", "patient_sex": "F",
                "study_description": "Whole body PET/CT, comparison with the previous examination",
            },
            {
                "patient_id": "P2", "study_instance_uid": "1.2.5", "series_instance_uid": "1.2.5.1",
                "patient_name": "Παπαδοπουλου^Μαρια", "study_date": "20261118",
            },
        )  # fmt: skip
        yield running


def pages_of(web):
    return ["/", "/login", "/logout", "/search", "/search?name=x&q=today", "/search?q=zzz",
            "/patients/2", "/studies/1.2.3", "/studies/1.2.5"]  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_pages_are_readable_and_fit(open_page, web, scheme, width):
    page = open_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.goto("/login")
    assert page.evaluate(CONTRAST, 4.5) == []
    log_in(page)
    for path in pages_of(web):
        page.goto(path)
        assert page.evaluate(CONTRAST, 4.5) == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.locator("h1").count() == 1
        assert page.locator("main").count() == 1
    page.goto(f"/token?{web.token('1.2.4')}")
    assert page.evaluate(CONTRAST, 7) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_chosen_look_wins_over_the_systems(open_page):
    page = open_page(color_scheme="light")
    page.goto("/")
    page.get_by_role("button", name="Dark").click()
    page.goto("/login")
    assert page.evaluate("getComputedStyle(document.body).colorScheme") == "dark"


def test_every_field_has_a_label_and_every_button_a_name(open_page, web):
    page = open_page()
    log_in(page)
    for path in pages_of(web):
        page.goto(path)
        assert page.evaluate(UNNAMED) == [], path


def test_the_way_from_log_in_to_the_link_by_keyboard_alone(open_page, web):
    page = open_page()
    page.goto("/login")
    page.wait_for_function("document.activeElement.name == 'username'")
    page.keyboard.type("admin")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/search")
    page.wait_for_function("document.activeElement.id == 'q'")
    page.keyboard.type("doe")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=doe*")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.textContent").strip() == "Doe, Jane"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert float(outline.removesuffix("px")) >= 2
    page.keyboard.press("Enter")
    page.wait_for_url("**/patients/*")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/studies/1.2.3")
    assert page.get_by_label("Address").input_value().endswith(web.token("1.2.3"))
    page.keyboard.press("/")
    page.wait_for_url("**/search")
    page.keyboard.press("Escape")
    page.locator("main").focus()
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()


def test_the_first_tab_leads_to_the_content(open_page):
    page = open_page()
    page.goto("/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_the_link_is_copied_or_selected(open_page, web):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    log_in(page)
    page.goto("/studies/1.2.3")
    page.get_by_role("button", name="Copy", exact=True).click()
    page.get_by_text("Copied", exact=True).wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.endswith("/token?" + web.token("1.2.3"))


def test_everything_works_without_javascript(open_page, web, tmp_path):
    page = open_page(java_script_enabled=False)
    log_in(page)
    page.get_by_label("Name, ID, accession number or date").fill("doe")
    page.get_by_role("button", name="Search").first.click()
    page.get_by_role("link", name="Doe, Jane", exact=True).click()
    page.get_by_role("link", name="2026-11-20", exact=True).click()
    assert page.locator("[data-copy]:visible").count() == 0
    with page.expect_download() as download:
        page.get_by_role("link", name="Zip 100 bytes").click()
    download.value.save_as(tmp_path / "study.zip")
    with zipfile.ZipFile(tmp_path / "study.zip") as archive:
        assert archive.testzip() is None
        assert len(archive.namelist()) == 1
    page.get_by_role("button", name="Log out").click()
    page.get_by_text("For patients").wait_for()


def test_the_patient_downloads_with_one_press(open_page, web, tmp_path):
    page = open_page(viewport={"width": 360, "height": 740}, java_script_enabled=False)
    page.goto(f"/token?{web.token('1.2.3')}")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the images").click()
    download.value.save_as(tmp_path / "study.zip")
    assert zipfile.is_zipfile(tmp_path / "study.zip")
