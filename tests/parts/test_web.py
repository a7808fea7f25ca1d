"""The web door itself: parser, log-in, sessions, forms (rows W of the security table)."""

import dataclasses
import http.client
import re
import socket
import time

import pytest
from twisted.logger import globalLogPublisher

from santepacs.web import channel
from support.web import PASSWORD, received, running_web

TOKEN = "A" * 64


@pytest.fixture
def web(reactor_thread, database_dsn, tmp_path):
    with running_web(reactor_thread, database_dsn.runtime, tmp_path) as running:
        yield running


@pytest.fixture(scope="module")
def shared(reactor_thread, databases, tmp_path_factory):
    """A server for tests that leave no trace in it: many are faster that way."""
    folder = tmp_path_factory.mktemp("shared")
    with (
        databases.one() as dsn,
        running_web(reactor_thread, dsn.runtime, folder) as running,
    ):
        yield running


@pytest.fixture
def log_lines():
    from twisted.logger import formatEvent

    lines = []

    def observe(event):
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def set_web(web, **changes):
    web.settings.web = dataclasses.replace(web.settings.web, **changes)


INJECTIONS = [
    "' OR '1'='1' --", "admin'--", "x' UNION SELECT name, password FROM account--",
    "'; SELECT pg_sleep(5)--", "%' OR 1=1 --", "\\'; DROP TABLE account; --", "%s %(a)s {0}",
]  # fmt: skip


@pytest.mark.parametrize("text", INJECTIONS)
def test_w1_sql_in_user_or_password_is_a_wrong_password(web, text):
    web.user("admin")
    for name, password in ((text, PASSWORD), ("admin", text)):
        began = time.monotonic()
        answer = web.browser().log_in(name, password)
        assert answer.status == 401
        assert "do not fit together" in answer.text
        assert time.monotonic() - began < 3
    assert len(web.sql("SELECT id FROM account")) == 1
    assert web.sql("SELECT count(*) AS n FROM session")[0].n == 0


@pytest.mark.parametrize("text", INJECTIONS)
def test_w1_sql_in_search_fields_finds_nobody(web, text):
    web.store({})
    browser = web.logged_in()
    for field in (
        "q", "name", "patient_id", "sex", "birth_date", "date_from", "accession_number",
        "institution", "referring_physician", "modality", "after", "sort",
    ):  # fmt: skip
        answer = browser.request("GET", "/search?" + _query({field: text}))
        assert answer.status == 200
        assert "syntax" not in answer.text
    assert len(web.sql("SELECT id FROM study")) == 1


def _query(fields):
    from urllib.parse import urlencode

    return urlencode(fields)


@pytest.mark.parametrize("length", [129, 1025, 8193])
@pytest.mark.parametrize("field", ["username", "password"])
def test_w2_long_names_and_passwords_are_refused_quickly(web, length, field):
    fields = {"username": "jane", "password": PASSWORD, field: "x" * length}
    assert web.browser().submit("/login", "/login", fields).status == 401


def test_w2_a_form_of_a_megabyte_is_too_large(shared):
    answer = shared.browser().submit("/login", "/login", {"username": "x" * 1_000_000})
    assert answer.status == 413
    shared.alive()


@pytest.mark.parametrize(
    ("body", "kind", "statuses"),
    [
        ("", "application/x-www-form-urlencoded", {403}),
        ("username=a", "application/x-www-form-urlencoded", {403}),
        ('{"username": "a"}', "application/json", {415}),
        ("username=a&password=b", "", {415}),
        ("username=a", "multipart/form-data; boundary=x", {415}),
        ("username=a&username=b", "application/x-www-form-urlencoded", {400}),
        ("username=%ff%fe", "application/x-www-form-urlencoded", {400}),
        ("username=%00", "application/x-www-form-urlencoded", {400}),
        ("é".encode(), "application/x-www-form-urlencoded", {400}),
        ("&".join(f"f{n}=1" for n in range(101)), "application/x-www-form-urlencoded", {400}),
    ],
)
def test_w3_a_broken_form_is_refused(shared, body, kind, statuses):
    headers = {"Content-Type": kind} if kind else {}
    assert shared.browser().request("POST", "/login", body, headers).status in statuses
    shared.alive()


@pytest.mark.parametrize("missing", ["username", "password"])
def test_w3_a_missing_field_is_named_and_what_was_typed_stays(web, missing):
    fields = {"username": "jane", "password": PASSWORD}
    del fields[missing]
    answer = web.browser().submit("/login", "/login", fields)
    assert answer.status == 400
    assert "type your user name" in answer.text
    assert ('value="jane"' in answer.text) == (missing == "password")
    assert PASSWORD not in answer.text


TRAVERSALS = [
    "/static/../../etc/passwd", "/static/..%2f..%2fetc/passwd", "/static/%2e%2e/%2e%2e/etc/passwd",
    "/static/..%5c..%5cetc", "/static/%252e%252e%252fetc", "/static/.../...//etc/passwd",
    "//etc/passwd", "/static/%00.css", "/static/style.css%00.txt", "/static//etc/passwd",
    "/static/%c0%ae%c0%ae/etc/passwd", "/static/", "/static", "/assets/../../../.HTTP/HTTP.db",
    "/static/style.css", "/templates/base.html", "/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd",
]  # fmt: skip


def test_w4_every_climbing_path_gets_the_same_404(shared):
    bodies, headers = set(), set()
    for path in ["/nothing", *TRAVERSALS]:
        answer = shared.raw(f"GET {path} HTTP/1.0\r\nCookie: santepacs={'c' * 43}\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 404"), path
        headers.add(re.sub(rb"Date: [^\r]*\r\n", b"", head))
        bodies.add(body.replace(b"/", b""))
    assert len(headers) == 1
    assert len(bodies) == 1
    assert b"root:" not in bodies.pop()


@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        (b"GET /" + b"a" * 8000 + b" HTTP/1.1", {404}),
        (b"GET /" + b"a" * 65_536 + b" HTTP/1.1", {400, 414}),
        (b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1", {400, 414}),
        (b"GET " + b"/" * 16_000 + b" HTTP/1.1", {404}),
        (b"GET " + b"/" * 100_000 + b" HTTP/1.1", {400, 414}),
        (b"GET /% HTTP/1.1", {404}),
        (b"GET /%zz HTTP/1.1", {404}),
        (b"GET /a%0d%0aX: HTTP/1.1", {404, 400}),
        (b"GET /\x01 HTTP/1.1", {400}),
        (b"GET http://[::1 HTTP/1.1", {400}),
        (b"GET  HTTP/1.1", {400}),
        (b"GET * HTTP/1.1", {400}),
        (b"OPTIONS * HTTP/1.1", {405}),
        (b"CONNECT evil:443 HTTP/1.1", {405}),
        (b"TRACE / HTTP/1.1", {405}),
        (b"DELETE / HTTP/1.1", {405}),
        (b"PUT /login HTTP/1.1", {405}),
        (b"get / HTTP/1.1", {405}),
        (b"GET /%ff HTTP/1.1", {404}),
        (b"GET / HTTP/9.9", {400}),
        (b"\x16\x03\x01\x02\x00\x01\x00", {400}),
        (b"POST / HTTP/1.1", {405}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_w5_strange_request_lines_get_an_answer(shared, line, statuses):
    answer = shared.raw(line + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert int(answer.split(b" ", 2)[1]) in statuses
    assert b"x-content-type-options: nosniff" in answer.lower()
    if b" 405 " in answer[:20]:
        assert b"Allow: " in answer
    shared.alive()


@pytest.mark.parametrize("count", [600, 2000])
def test_w5_too_many_headers_are_refused(shared, count):
    lines = b"".join(b"X-%d: a\r\n" % n for n in range(count))
    answer = shared.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: ", b"Content-Length: -1", b"Content-Length: +5", b"Content-Length: 0x10",
        b"Content-Length: 1e9", b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: gzip", b"Content-Length: 1 1", b"Content-Length: 5,5",
        b"Content-Length : 5", b"Content-Length: 5\r\n\x00X: 1",
    ],
    ids=repr,
)  # fmt: skip
def test_w6_an_unclear_length_is_refused_and_nothing_is_smuggled(shared, log_lines, headers):
    answer = shared.raw(
        b"POST /login HTTP/1.1\r\nHost: localhost\r\n" + headers + b"\r\n\r\n"
        b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert not any("/smuggled" in line for line in log_lines)
    shared.alive()


@pytest.mark.parametrize("size", [b"0x5", b"FFFFFFFFFFFFFFFF", b"-1", b"5;" + b"a" * 20_000, b"zz"])
def test_w6_a_broken_chunk_ends_the_connection(shared, log_lines, size):
    answer = shared.raw(
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        + size
        + b"\r\nhello\r\n0\r\n\r\n"
        b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    )
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 411"))
    assert not any("/smuggled" in line for line in log_lines)
    shared.alive()


def test_w6_a_length_beyond_64_bits_is_too_large(shared):
    answer = shared.raw(
        b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551616\r\n"
        b"Content-Type: application/x-www-form-urlencoded\r\n\r\nx"
    )
    assert answer.startswith(b"HTTP/1.1 413")


def test_w6_a_page_takes_no_body(shared):
    answer = shared.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello")
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"Connection: close" in answer


def test_w7_pipelined_requests_are_answered_in_order(shared):
    slow = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    fast = b"GET /robots.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = shared.raw(slow + fast)
    assert answer.index(b"application/json") < answer.index(b"User-agent")
    assert answer.count(b"HTTP/1.1 200") == 2


def test_w8_a_trickling_header_is_cut_after_its_time(web, monkeypatch):
    monkeypatch.setattr(channel, "HEADER_SECONDS", 0.3)
    with web.connect() as connection:
        began = time.monotonic()
        connection.sendall(b"GET / HT")
        connection.settimeout(0.1)
        for byte in b"TP/1.1\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaa":
            try:
                connection.sendall(bytes([byte]))
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - began < 2
    web.alive()


def test_w8_a_trickling_body_is_cut_after_its_time(web, monkeypatch):
    monkeypatch.setattr(channel, "IDLE_SECONDS", 0.2)
    with web.connect() as connection:
        connection.sendall(
            b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\na"
        )
        began = time.monotonic()
        assert received(connection) == b""
        assert time.monotonic() - began < 5


def test_w8_an_idle_connection_is_closed(web, monkeypatch):
    monkeypatch.setattr(channel, "IDLE_SECONDS", 0.2)
    with web.connect() as connection:
        assert received(connection) == b""
    with web.connect() as connection:
        connection.sendall(b"GET /robots.txt HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"Disallow" in received(connection)


def test_w8_many_silent_connections_hinder_nobody(web):
    silent = [web.connect() for _ in range(200)]
    try:
        for connection in silent:
            connection.sendall(b"G")
        web.alive()
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("path", ["/login", "/logout", "/setup", "/appearance", "/upload"])
def test_w9_a_huge_body_is_refused_before_it_is_read(shared, path):
    with shared.connect() as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4294967295\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode()
            + b"x" * 1024
        )
        connection.settimeout(2)
        answer = connection.recv(65536)
    assert int(answer.split(b" ")[1]) in (401, 403, 404, 413)
    shared.alive()


@pytest.mark.parametrize("kind", ["gzip", "deflate", "br", "gzip, identity"])
def test_w11_compressed_content_is_not_read(shared, kind):
    headers = {
        "Content-Encoding": kind,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    assert shared.browser().request("POST", "/login", b"\x1f\x8b", headers).status == 415


def test_w12_guessing_at_one_user_makes_this_address_wait_and_no_other(web):
    set_web(web, login_attempts=5)
    web.user("jane")
    statuses = [web.browser().log_in("jane", "wrong password").status for _ in range(7)]
    assert statuses[:5] == [401] * 5
    assert statuses[5:] == [429] * 2
    waiting = web.browser().log_in("jane")
    assert waiting.status == 429
    assert int(waiting.headers["Retry-After"]) >= 1
    assert web.browser(source="127.0.0.2").log_in("jane").status == 303


def test_w12_guessing_at_many_users_makes_the_address_wait_too(web):
    set_web(web, login_attempts=5)
    web.user("jane")
    statuses = [web.browser().log_in(f"user{n}", PASSWORD).status for n in range(6)]
    assert statuses == [401] * 5 + [429]


def test_w12_the_wait_does_not_tell_whether_the_user_exists(web):
    set_web(web, login_attempts=2)
    web.user("jane")
    pages = []
    for source, name in (("127.0.0.3", "jane"), ("127.0.0.4", "nobody")):
        browser = web.browser(source=source)
        answers = [browser.log_in(name, "wrong password") for _ in range(3)]
        pages.append(
            [(a.status, re.sub(rf'proof" value="\w+"|{name}', "", a.text)) for a in answers]
        )
    assert pages[0] == pages[1]


def test_w12_many_guesses_at_once_count_as_many(web):
    import concurrent.futures

    set_web(web, login_attempts=3)
    web.user("jane")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = pool.map(lambda _: web.browser().log_in("jane", "wrong password"), range(12))
        statuses = sorted(answer.status for answer in answers)
    assert statuses.count(401) <= 3


def test_w12_a_right_password_does_not_wash_the_address_clean(web):
    set_web(web, login_attempts=4)
    web.user("jane")
    web.user("john")
    for _ in range(2):
        assert web.browser().log_in("john", "wrong password").status == 401
        assert web.browser().log_in("jane").status == 303
    for _ in range(2):
        assert web.browser().log_in("john", "wrong password").status == 401
    assert web.browser().log_in("jane").status == 429


def test_w13_unknown_and_known_users_get_the_same_answer(web):
    web.user("jane")
    known, unknown = (web.browser().log_in(name, "wrong password") for name in ("jane", "john"))
    hide = re.compile(r'proof" value="\w+"|jane|john')
    assert known.status == unknown.status == 401
    assert hide.sub("", known.text) == hide.sub("", unknown.text)


@pytest.mark.parametrize(
    "name", ["<p/onclick=alert(1)>", '"><script>alert(1)</script>', "{{7*7}}", "{% raw %}"]
)
def test_w14_a_user_name_is_shown_as_text(web, name):
    text = web.browser().log_in(name, "wrong password").text
    assert "<p/onclick" not in text
    assert "<script>alert" not in text
    assert "49" not in re.sub(r'"[^"]*"|1\.\d+', "", text)


@pytest.mark.parametrize(
    "onward", ["//evil.example.com", "/\\evil", "https://evil", "javascript:alert(1)", "/a\r\nX: y"]
)
def test_w14_log_in_leads_nowhere_else(web, onward):
    web.user("jane")
    answer = web.browser().log_in("jane", next=onward)
    assert answer.status == 303
    assert answer.headers["Location"] == "/search"


def test_w14_log_in_leads_on_to_the_page_that_was_asked_for(web):
    web.user("jane")
    browser = web.browser()
    turned = browser.get("/studies/1.2.3?a=b&c=d")
    assert turned.status == 303
    page = browser.get(turned.headers["Location"])
    onward = page.field("next")
    assert onward == "/studies/1.2.3?a=b&c=d"
    answer = browser.log_in("jane", next=onward)
    assert answer.headers["Location"] == onward


@pytest.mark.parametrize(
    "host", ["evil.example.com", "<script>alert(1)</script>", "a b", "127.0.0.1:99999", "[::1"]
)
def test_w14_a_foreign_host_is_refused(shared, host):
    answer = shared.raw(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert int(answer.split(b" ")[1]) in (400, 421)
    assert b"<script>alert" not in answer
    assert b"evil" not in answer


@pytest.mark.parametrize("count", [0, 2])
def test_w14_a_request_has_one_host(shared, count):
    answer = shared.raw(
        b"GET / HTTP/1.1\r\n" + b"Host: localhost\r\n" * count + b"Connection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:3000", "pacs.example.org", "other"])
def test_hosts_of_ours_are_served(web, host):
    set_web(web, server_name="pacs.example.org", allowed_hosts=("other",))
    assert web.browser().get("/", Host=host).status == 200


PATHS = ["/", "/login", "/health", "/robots.txt", "/nothing", "/search", "/token?x", "/setup?x",
         "/favicon.ico", "/logout", "/download/study/1.2.zip", f"/token?{TOKEN}"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_w15_every_answer_has_its_headers(shared, path):
    headers = shared.browser().get(path).headers
    policy = headers["Content-Security-Policy"]
    for part in (
        "default-src 'none'", "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'",
        "form-action 'self'",
    ):  # fmt: skip
        assert part in policy
    assert "unsafe" not in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert headers["Server"] is None
    if headers["Content-Length"] != "0":
        assert "charset=utf-8" in headers["Content-Type"]


def test_w15_pages_have_no_inline_script_or_style_and_nothing_from_elsewhere(web):
    web.store({})
    browser = web.logged_in(administrator=True)
    for path in ("/", "/search", "/patients/1", "/studies/1.2.3", f"/token?{web.token()}"):
        text = browser.get(path).text
        assert "<script>" not in text
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", text)
        assert not re.search(r'(src|href)="(https?:)?//', text)


def test_static_files_are_kept_for_ever_and_typed(shared):
    text = shared.browser().get("/").text
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', text):
        answer = shared.browser().get(path)
        assert answer.status == 200
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["Content-Type"].startswith(("text/css", "text/java", "image/svg"))


def test_w16_the_cookie_is_new_at_log_in_and_closed_to_scripts(web):
    web.user("jane")
    browser = web.browser()
    browser.get("/login")
    before = browser.cookies["santepacs"]
    answer = browser.log_in("jane")
    assert browser.cookies["santepacs"] != before
    line = answer.headers["Set-Cookie"].lower()
    assert "httponly" in line
    assert "samesite=lax" in line
    assert "path=/" in line
    assert "domain" not in line
    browser.cookies["santepacs"] = before
    assert browser.get("/search").status == 303


def test_w16_behind_a_trusted_https_proxy_the_cookie_is_bound_to_https(web):
    set_web(web, trusted_proxies=("127.0.0.1",))
    web.user("jane")
    answer = web.browser().get("/login", **{"X-Forwarded-Proto": "https"})
    line = answer.headers["Set-Cookie"]
    assert line.startswith("__Host-santepacs=")
    assert "secure" in line.lower()
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=31536000")


def test_w16_a_proxy_that_is_not_trusted_changes_nothing(web):
    answer = web.browser().get("/login", **{"X-Forwarded-Proto": "https"})
    assert "__Host-" not in answer.headers["Set-Cookie"]


def test_w16_logging_in_again_ends_the_session_before(web):
    browser = web.logged_in()
    old = browser.cookies["santepacs"]
    browser.log_in("jane")
    browser.cookies["santepacs"] = old
    assert browser.get("/search").status == 303


@pytest.mark.parametrize("ending", ["log out", "disable", "delete", "password", "idle", "absolute"])
def test_w17_a_session_ends_at_once(web, ending):
    web.user("admin", administrator=True)
    browser = web.logged_in()
    kept = dict(browser.cookies)
    assert browser.get("/search").status == 200
    if ending == "log out":
        assert browser.submit("/search", "/logout", {}).status == 303
    elif ending == "disable":
        web.run(web.accounts.disable, "jane")
    elif ending == "delete":
        web.run(web.accounts.delete, "jane")
    elif ending == "password":
        web.run(web.accounts.set_password, "jane", "another sentence")
    elif ending == "idle":
        web.clock.ahead = web.settings.web.session_idle + 1
    else:
        for _ in range(30):
            web.clock.ahead += web.settings.web.session_length / 28
            answer = browser.get("/search")
            if answer.status != 200:
                break
        assert web.clock.ahead > web.settings.web.session_length - 1
    browser.cookies = kept
    assert browser.get("/search").status == 303
    assert browser.get("/download/study/1.2.3.zip").status == 303


def test_w17_a_session_in_use_does_not_end(web):
    browser = web.logged_in()
    for _ in range(4):
        web.clock.ahead += web.settings.web.session_idle * 0.9
        assert browser.get("/search").status == 200


def test_the_cookie_is_not_readable_in_the_database(web):
    browser = web.logged_in()
    rows = web.sql("SELECT encode(digest, 'hex') AS text FROM session")
    assert len(rows) == 1
    assert browser.cookies["santepacs"] not in rows[0].text


@pytest.mark.parametrize("path", ["/login", "/logout", "/setup", "/appearance"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example.com"},
        {"Origin": "https://127.0.0.1.evil.example.com"},
        {"Origin": "file://"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
def test_w18_a_form_from_elsewhere_is_refused(shared, path, headers):
    answer = shared.browser().submit("/login", path, {"username": "jane"}, headers)
    assert answer.status == 403


@pytest.mark.parametrize("path", ["/login", "/logout", "/setup", "/appearance"])
@pytest.mark.parametrize("proof", [None, "", "0" * 64, "foreign"])
def test_w18_a_form_without_its_proof_is_refused(web, path, proof):
    web.user("jane")
    fields = {"username": "jane", "password": PASSWORD}
    if proof == "foreign":
        proof = web.browser().get("/login").field("proof")
    browser = web.browser()
    browser.get("/login")
    if proof is not None:
        fields["proof"] = proof
    assert browser.send(path, fields).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "own"},
    ],
    ids=str,
)
def test_w18_our_own_form_is_taken(web, headers):
    web.user("jane")
    if headers.get("Origin") == "own":
        headers = {"Origin": f"http://127.0.0.1:{web.port}"}
    browser = web.browser()
    fields = {"username": "jane", "password": PASSWORD}
    assert browser.submit("/login", "/login", fields, headers).status == 303


def test_w18_get_and_head_change_nothing(web):
    browser = web.logged_in()
    for method in ("GET", "HEAD"):
        for path in ("/logout", "/login", "/appearance", "/setup"):
            browser.request(method, path)
    assert browser.get("/search").status == 200


def test_w18_logging_out_is_asked_for_first(web):
    browser = web.logged_in()
    assert "Log out?" in browser.get("/logout").text
    assert browser.submit("/logout", "/logout", {}).headers["Location"] == "/"
    assert "santepacs" not in browser.cookies


PROTECTED = ["/search", "/patients/1", "/studies/1.2.3", "/download/patient/1.zip",
             "/download/study/1.2.3.zip", "/download/series/1.2.3.1.zip"]  # fmt: skip


@pytest.mark.parametrize("path", PROTECTED)
def test_w19_nobody_sees_anything_without_a_session(web, path):
    web.store({})
    for cookie in ({}, {"santepacs": "x" * 43}, {"santepacs": "' OR 1=1"}, {"santepacs": ""}):
        browser = web.browser()
        browser.cookies = cookie
        answer = browser.get(path)
        assert answer.status == 303
        assert answer.headers["Location"].startswith("/login?next=/")
        assert b"Doe" not in answer.body


def test_w19_every_route_states_its_permission():
    from santepacs.access.permissions import Permission
    from santepacs.web import auth, health, patient, portal, static
    from santepacs.web.routes import Route

    classes = [
        auth.AuthPages, health.HealthPages, patient.PatientPages, portal.PortalPages,
        static.StaticPages,
    ]  # fmt: skip
    routes = [
        member.route
        for cls in classes
        for member in vars(cls).values()
        if isinstance(getattr(member, "route", None), Route)
    ]
    open_to_all = {route.path for route in routes if route.permission is Permission.ANYBODY}
    assert open_to_all == {
        "/", "/login", "/logout", "/setup", "/appearance", "/health", "/token", "/token/zip",
        "/static/<name>", "/favicon.ico", "/robots.txt",
    }  # fmt: skip


def test_w19_a_user_who_may_not_share_sees_no_link(web):
    web.store({})
    browser = web.logged_in()
    assert web.token() in browser.get("/studies/1.2.3").text
    web.sql("UPDATE account SET may_share = false")
    assert web.token() not in browser.get("/studies/1.2.3").text
    assert "#link" not in browser.get("/patients/1").text


def test_v7_hostile_values_stay_on_one_line_of_the_log(web, log_lines):
    web.raw(b"GET /a%0aINJECTED HTTP/1.0\r\nUser-Agent: \x1b[31m\r\n\r\n")
    web.raw(b"GET /\xa0%1b HTTP/1.0\r\n\r\n")
    assert all("\n" not in line and "\x1b" not in line for line in log_lines if "web " in line)


def test_v8_no_password_cookie_token_or_name_is_in_the_log(web, log_lines):
    web.store({"patient_name": "Verysecret^Jane"})
    browser = web.logged_in()
    browser.get("/search?q=verysecret")
    web.browser().get(f"/token?{web.token()}")
    web.browser().log_in("jane", "mistyped password")
    link = web.run(web.setup.new_link)
    web.browser().get(link)
    text = "\n".join(log_lines)
    assert "/search" in text
    for secret in (
        PASSWORD, "mistyped", browser.cookies["santepacs"], web.token(), "erysecret",
        link.partition("?")[2],
    ):  # fmt: skip
        assert secret not in text


@pytest.mark.parametrize("path", ["/token%3F{}", "/token/{}", "/token/zip%3F{}", "/setup%3F{}"])
def test_v8_a_secret_in_a_mistyped_address_is_not_in_the_log(web, log_lines, path):
    secret = "Q7x_" * 11
    web.browser().get(path.format(secret))
    text = "\n".join(log_lines)
    assert "..." in text
    assert secret not in text


def test_an_error_of_ours_has_a_number_that_is_in_the_log(web, log_lines, monkeypatch):
    browser = web.logged_in()

    async def broken(*args, **kwargs):
        raise RuntimeError("a secret detail")

    monkeypatch.setattr("santepacs.db.browse.patients", broken)
    answer = browser.get("/search")
    assert answer.status == 500
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text
    reference = re.search(r"Reference: <code>(\w+)</code>", answer.text)[1]
    assert any(reference in line for line in log_lines)


def test_without_the_database_pages_say_so(web):
    browser = web.logged_in()
    web.run(web.database.stop)
    answer = browser.get("/search")
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "10"
    assert web.browser().get("/").status == 200
    health = web.browser().get("/health")
    assert health.status == 503
    assert '"storage": "ok"' in health.text


def test_head_is_get_without_the_body(web):
    browser = web.logged_in()
    for path in ("/", "/login", "/search", "/health", "/nothing"):
        get, head = browser.get(path), browser.request("HEAD", path)
        assert (head.status, head.body) == (get.status, b"")
        assert head.headers["Content-Length"] == get.headers["Content-Length"]


def test_the_landing_page_names_its_house(web):
    set_web(web, institution="General <Hospital>", department="X & Y", viewer_url="https://v.org/")
    text = web.browser().get("/").text
    assert "General &lt;Hospital&gt;" in text
    assert "X &amp; Y" in text
    assert 'href="https://v.org/"' in text
    set_web(web, viewer_url="")
    assert "viewer" not in web.browser().get("/").text


def test_health_is_ok_and_names_nothing_of_patients(web):
    web.store({})
    answer = web.browser().get("/health")
    assert answer.status == 200
    assert answer.text == '{"status": "ok", "parts": {"database": "ok", "storage": "ok"}}\n'


def test_health_fails_when_the_reserve_is_used_up(web):
    web.settings.server = dataclasses.replace(web.settings.server, disk_reserve=10_000_000)
    answer = web.browser().get("/health")
    assert answer.status == 503
    assert "reserve" in answer.text


def test_health_fails_when_storage_is_gone(web):
    (web.folder / "incoming").rmdir()
    answer = web.browser().get("/health")
    assert answer.status == 503
    assert '"database": "ok"' in answer.text


def test_the_set_up_page_makes_the_administrator_and_logs_him_in(web):
    link = web.run(web.setup.new_link)
    browser = web.browser()
    page = browser.get(link)
    assert page.status == 200
    fields = {"link": page.field("link"), "username": "admin", "password": PASSWORD}
    wrong = browser.submit(link, "/setup", {**fields, "again": "other"})
    assert wrong.status == 400
    assert "not the same" in wrong.text
    short = browser.submit(link, "/setup", {**fields, "password": "short", "again": "short"})
    assert short.status == 400
    done = browser.submit(link, "/setup", {**fields, "again": PASSWORD})
    assert done.headers["Location"] == "/search"
    assert browser.get("/search").status == 200
    assert web.browser().get(link).status == 404


@pytest.mark.parametrize("secret", ["", "x", "x" * 43, "x" * 5000, "%00", "' OR 1=1"])
def test_a_wrong_set_up_link_is_dead(web, secret):
    web.run(web.setup.new_link)
    answer = web.browser().get("/setup?" + secret.replace(" ", "%20"))
    assert answer.status == 404
    assert "does not work any more" in answer.text


def test_the_look_is_remembered(web):
    browser = web.browser()
    assert "data-theme" not in browser.get("/").text
    assert browser.submit("/", "/appearance", {"theme": "dark", "next": "/login"}).headers[
        "Location"
    ] == ("/login")
    assert 'data-theme="dark"' in browser.get("/").text
    browser.submit("/", "/appearance", {"theme": "", "next": "/"})
    assert "data-theme" not in browser.get("/").text


def test_a_client_that_leaves_in_the_middle_of_a_page_harms_nobody(web):
    browser = web.logged_in()
    cookie = browser.cookies["santepacs"]
    for _ in range(20):
        with web.connect() as connection:
            connection.sendall(
                b"GET /search HTTP/1.1\r\nHost: localhost\r\nCookie: santepacs="
                + cookie.encode()
                + b"\r\n\r\n"
            )
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert browser.get("/search").status == 200


def test_a_connection_serves_several_requests(shared):
    connection = http.client.HTTPConnection("127.0.0.1", shared.port, timeout=10)
    for _ in range(3):
        connection.request("GET", "/login")
        response = connection.getresponse()
        assert response.status == 200
        assert b"Log in" in response.read()
    connection.close()
