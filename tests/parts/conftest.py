"""Fixtures for pages in a real browser."""

import os
import shutil

import pytest

from support.browser import CHROMIUM_ARGUMENTS


def missing(what):
    message = f"{what} is not installed: pages are not tried in a browser"
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
    """Opens a page of the server in a fresh browser context; fails on anything in its console."""
    contexts, complaints = [], []

    def complain(text):
        # Said when the tester was quicker than the page, and of a form that is to be mended.
        if not any(
            usual in text for usual in ("Autofocus processing was blocked", "status of 400")
        ):
            complaints.append(text)

    def opened(**options):
        context = chromium.new_context(base_url=f"http://127.0.0.1:{web.port}", **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complain(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
