"""As a person sees it, in a real browser: log in, search, open, download; the patient's link."""

import os
import zipfile

import pytest
from pydicom.data import get_testdata_file

from support.browser import CHROMIUM_ARGUMENTS
from support.postgres import reachable_folder
from support.programs import program
from support.server import ADMIN_PASSWORD, running_server

STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"  # of pydicom's CT_small.dcm
PHONE = {"width": 360, "height": 740}
DESKTOP = {"width": 1280, "height": 800}


@pytest.fixture(scope="module")
def server():
    with reachable_folder() as folder:
        settings = ["web.institution=Test Clinic", "web.department=Radiology"]
        with running_server(folder / "data", settings) as running:
            files = [get_testdata_file(n) for n in ("CT_small.dcm", "MR_small.dcm")]
            assert running.command("import", *files).returncode == 0
            yield running


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program("chromium"), args=CHROMIUM_ARGUMENTS
        )
        yield browser
        browser.close()


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def page(server, chromium, request):
    """A fresh browser window that fails the test for script errors and foreign requests."""
    context = chromium.new_context(viewport=request.param, accept_downloads=True)
    window = context.new_page()
    complaints = []
    window.on("pageerror", lambda error: complaints.append(str(error)))
    window.on("console", lambda said: complaints.append(said.text) if is_fault(said) else None)
    window.on(
        "request",
        lambda asked: (
            None if asked.url.startswith((server.url, "data:")) else complaints.append(asked.url)
        ),
    )
    yield window
    context.close()
    assert complaints == []


def is_fault(said):
    """Chromium also reports every answer of 4xx as an error of the console."""
    return said.type == "error" and "Failed to load resource" not in said.text


def fits(page):
    """Nothing has to be scrolled sideways."""
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def log_in(page, server):
    page.goto(server.url)
    page.get_by_role("link", name="Log in").first.click()
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill(ADMIN_PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{server.url}/search")


def downloaded(download, tmp_path):
    path = tmp_path / os.path.basename(download.suggested_filename)
    download.save_as(path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_log_in_search_open_and_download(page, server, tmp_path):
    log_in(page, server)
    assert fits(page)
    page.wait_for_function("document.activeElement.id == 'q'")
    page.keyboard.type("compressed")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="CompressedSamples, CT1").first.click()
    page.wait_for_url(f"{server.url}/patients/*")
    assert fits(page)
    page.get_by_role("row", name="e+1").get_by_role("link").first.click()
    page.wait_for_url(f"{server.url}/studies/{STUDY}")
    assert fits(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Zip").first.click()
    names = downloaded(download.value, tmp_path)
    assert len([name for name in names if name.endswith(".dcm")]) == 1


def test_a_wrong_password_says_so_and_keeps_the_name(page, server):
    page.goto(f"{server.url}/login")
    page.get_by_label("User name").fill("admin")
    page.get_by_label("Password").fill("not the password")
    with page.expect_response(lambda answer: answer.request.method == "POST") as answered:
        page.get_by_role("button", name="Log in").click()
    assert answered.value.status in (401, 403, 200)
    page.get_by_role("alert").wait_for()
    assert page.get_by_label("User name").input_value() == "admin"
    assert page.get_by_label("Password").input_value() == ""


def test_log_out_ends_it(page, server):
    log_in(page, server)
    page.get_by_role("button", name="Log out").click()
    page.goto(f"{server.url}/search")
    assert "/login" in page.url


def test_the_patient_opens_the_link_and_downloads(page, server, tmp_path):
    token = server.command("token", STUDY).stdout.strip()
    page.goto(f"{server.url}/token?{token}")
    assert page.get_by_role("heading", level=1).count() == 1
    for text in ("CompressedSamples", "Test Clinic", "Radiology", "e+1", "CT"):
        assert page.get_by_text(text).first.is_visible()
    assert fits(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert downloaded(download.value, tmp_path)


def test_a_wrong_link_shows_a_neutral_page(chromium, server):
    window = chromium.new_page()
    answer = window.goto(f"{server.url}/token?{'x' * 64}")
    assert answer.status == 404
    assert window.get_by_role("heading", level=1).count() == 1
    window.close()
