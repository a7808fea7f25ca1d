"""Every route that there is, as nobody, as a user without rights and as an administrator: found in
the code, so that none can be forgotten (W-15, W-18, W-19)."""

import importlib
import pkgutil
import re

import pytest

import santepacs.web
from santepacs.access.permissions import Permission
from santepacs.web.routes import Route
from support.hl7_pages import orm, send_parts
from support.web import running_web

ROUTES = sorted(
    {
        member.route
        for module in pkgutil.iter_modules(santepacs.web.__path__, "santepacs.web.")
        for cls in vars(importlib.import_module(module.name)).values()
        if isinstance(cls, type)
        for member in vars(cls).values()
        if isinstance(getattr(member, "route", None), Route)
    },
    key=lambda route: (route.path == "/logout", route.path, route.is_form),
)
PAGES = [route for route in ROUTES if not route.is_form]
FORMS = [route for route in ROUTES if route.is_form]
# What asks for no log-in is decided here once more, by hand.
OPEN = {
    "GET /", "GET /login", "POST /login", "GET /logout", "POST /logout", "GET /setup",
    "POST /setup", "POST /appearance", "GET /health", "GET /token", "GET /token/zip",
    "GET /static/<name>", "GET /favicon.ico", "GET /robots.txt",
}  # fmt: skip
FOR_USERS = (Permission.ANYBODY, Permission.USER)
STRANGE = ("0", "-1", "9" * 18, "9" * 19, "9" * 5000, "1.5", "%D9%A1", "%C2%B2", "%F0%9F%98%80",
           "%00", "..", "%2e%2e%2f", "%27%20OR%201=1", "%3Cscript%3E")  # fmt: skip


@pytest.fixture
def web(reactor_thread, database_dsn, tmp_path):
    with running_web(reactor_thread, database_dsn.runtime, tmp_path) as running:
        running.schedule()
        running.store({})
        yield running


def named(route):
    return f"{'POST' if route.is_form else 'GET'} {route.path}"


def at(route, value="1"):
    return re.sub("<[a-z]+>", value, route.path)


def send(browser, route, fields, headers=()):
    if route.takes_files:
        return send_parts(browser, at(route), fields, headers=headers)
    return browser.send(at(route), fields, headers)


def proof_of(browser):
    return browser.get("/login").field("proof")


def test_all_of_them_are_here(web):
    mounted = {rule.endpoint for rule in web.server._app.url_map.iter_rules()}
    assert mounted == {named(route) for route in ROUTES}


def test_what_is_open_to_all_is_meant_to_be():
    opened = {named(route) for route in ROUTES if route.permission is Permission.ANYBODY}
    assert opened == OPEN


def test_nobody_comes_in(web):
    for cookie in ({}, {"santepacs": "x" * 43}, {"santepacs": "' OR 1=1"}):
        for route in ROUTES:
            if route.permission is Permission.ANYBODY:
                continue
            stranger = web.browser()
            stranger.cookies = dict(cookie)
            if route.is_form:
                assert send(stranger, route, {}).status == 401, named(route)
            else:
                answer = stranger.get(at(route))
                assert answer.status == 303, named(route)
                assert answer.headers["Location"].startswith("/login?next=/"), named(route)
                assert answer.body == b""


def test_a_user_without_rights_comes_where_users_may(web):
    user = web.logged_in()
    web.sql("UPDATE account SET may_share = false, may_upload = false")
    proof = proof_of(user)
    for route in ROUTES:
        answer = send(user, route, {"proof": proof}) if route.is_form else user.get(at(route))
        if route.permission in FOR_USERS:
            assert answer.status not in (401, 403) and answer.status < 500, named(route)
        else:
            assert answer.status == 403, named(route)


def test_an_administrator_comes_everywhere_and_nothing_breaks(web):
    admin = web.logged_in("boss", administrator=True)
    proof = proof_of(admin)
    for route in ROUTES:
        answer = send(admin, route, {"proof": proof}) if route.is_form else admin.get(at(route))
        assert answer.status not in (401, 403) and answer.status < 500, named(route)


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example.org"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://127.0.0.1:1"}],
)  # fmt: skip
def test_w18_forms_of_other_sites_are_refused(web, headers):
    admin = web.logged_in("boss", administrator=True)
    proof = proof_of(admin)
    for route in FORMS:
        assert send(admin, route, {"proof": proof}, headers).status == 403, named(route)


def test_w18_forms_without_the_browsers_own_proof_are_refused(web):
    admin = web.logged_in("boss", administrator=True)
    foreign = proof_of(web.browser())
    for route in FORMS:
        for fields in ({}, {"proof": ""}, {"proof": foreign}, {"proof": "é" * 43}):
            assert send(admin, route, fields).status == 403, named(route)


def test_w9_more_than_a_form_takes_is_refused_before_it_is_read(web):
    admin = web.logged_in("boss", administrator=True)
    for route in FORMS:
        kind = "multipart/form-data; boundary=b" if route.takes_files else (
            "application/x-www-form-urlencoded")  # fmt: skip
        headers = {"Content-Type": kind, "Content-Length": str(route.limit + 1)}
        answer = admin.request("POST", at(route), b"", headers)
        assert answer.status == 413, named(route)


def test_w15_every_answer_has_its_headers(web):
    admin = web.logged_in("boss", administrator=True)
    for route in PAGES:
        answer = admin.get(at(route))
        policy = answer.headers["Content-Security-Policy"]
        for part in ("default-src 'none'", "object-src 'none'", "frame-ancestors 'none'",
                     "base-uri 'none'", "form-action 'self'"):  # fmt: skip
            assert part in policy, named(route)
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-store", named(route)
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Server" not in answer.headers


@pytest.mark.parametrize("value", STRANGE)
def test_strange_keys_find_nothing_and_break_nothing(web, value):
    admin = web.logged_in("boss", administrator=True)
    for route in PAGES:
        if "<" in route.path:
            assert admin.get(at(route, value)).status in (200, 400, 404), named(route)


@pytest.mark.parametrize("value", ["9" * 5000, "%D9%A1"])
def test_strange_queries_break_nothing(web, value):
    web.receive(*orm())
    admin = web.logged_in("boss", administrator=True)
    for route in PAGES:
        for name in ("record", "records", "from", "message", "first", "before", "after", "name",
                     "next", "q", "text", "days", "date_from"):  # fmt: skip
            status = admin.get(f"{at(route)}?{name}={value}").status
            assert status in (200, 303, 400, 404), f"{named(route)} {name}"


@pytest.mark.parametrize(
    "place",
    ["//evil.example.org", "https://evil.example.org", "/\\evil.example.org",
     "%0d%0aLocation:%20https://evil.example.org"],
)  # fmt: skip
def test_w14_no_page_leads_to_another_site(web, place):
    admin = web.logged_in("boss", administrator=True)
    names = ("next", "back", "return", "url", "from", "search")
    query = "&".join(f"{name}={place}" for name in names)
    for route in PAGES:
        answer = admin.get(f"{at(route)}?{query}")
        location = answer.headers["Location"] or "/"
        assert location.startswith("/") and "evil" not in location.partition("?")[0]
        assert not re.search(rb'(href|action|src)="[^"?]*evil', answer.body), named(route)
