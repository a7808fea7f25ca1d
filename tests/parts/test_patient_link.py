"""The patient's page behind a link (rows T of the security table)."""

import dataclasses
import json
import re
from datetime import date, datetime, timedelta

import pytest

from support.web import running_web


@pytest.fixture
def web(reactor_thread, database_dsn, tmp_path):
    with running_web(reactor_thread, database_dsn.runtime, tmp_path) as running:
        yield running


def set_web(web, **changes):
    web.settings.web = dataclasses.replace(web.settings.web, **changes)


FULL = {
    "patient_name": "Doe^Jane", "study_id": "104873", "study_description": "Thorax",
    "study_date": "20261120", "study_time": "124110", "modality": "CT",
}  # fmt: skip


def test_s156_the_page_has_everything_the_patient_needs(web):
    web.store(FULL)
    set_web(web, institution="General", department="Radiology", viewer_url="https://v.example/")
    answer = web.browser().get(f"/token?{web.token()}")
    assert answer.status == 200
    for part in (
        "General", "Radiology", "Client IP: 127.0.0.1", "Doe, Jane", "104873", "Thorax",
        'datetime="2026-11-20"', "12:41", "CT", f"/token/zip?{web.token()}", "https://v.example/",
        "Open Zip File", "©",
    ):  # fmt: skip
        assert part in answer.text, part


def test_s156_a_study_that_says_nothing_still_has_its_page(web):
    web.store({"patient_name": "", "patient_id": ""})
    answer = web.browser().get(f"/token?{web.token()}")
    assert answer.status == 200
    assert answer.text.count("not given") >= 3


def test_s155_no_session_is_needed_and_none_is_made(web):
    web.store(FULL)
    answer = web.browser().get(f"/token?{web.token()}")
    assert answer.headers["Set-Cookie"] is None


def none_of(answer):
    """Status, headers without the date, and body."""
    headers = sorted((k, v) for k, v in answer.headers.items() if k != "Date")
    return answer.status, headers, answer.body


BAD = [
    "", "x", "A" * 63, "A" * 65, "A" * 10_000, "%27%20OR%20%271%27=%271", "A" * 63 + "%00",
    "A" * 63 + "%C3%A9", "token=" + "A" * 64, "A" * 64 + "&" + "A" * 64, "A" * 64 + "?",
    "%D9%A1" * 64, "A" * 63 + "-", "A" * 64 + "%0a", "[]=" + "A" * 61, "'" * 64, "A" * 64,
    "x%27;COPY%20study%20FROM%20PROGRAM%20%27id%27--",
]  # fmt: skip


def test_t1_every_bad_link_gives_one_and_the_same_page(web):
    web.store(FULL)
    token = web.token()
    set_web(web, token_attempts=1000)
    changed = token[:-1] + ("a" if token[-1] != "a" else "b")
    bad = [*BAD, changed, token.swapcase(), token.lower(), web.token(version=2), f"token={token}"]
    for path in ("/token", "/token/zip"):
        answers = [web.browser().get(f"{path}?{query}") for query in bad]
        answers.append(web.browser().get(path))
        assert answers[0].status == 404
        assert len({json.dumps(none_of(a), default=repr) for a in answers}) == 1


def test_t1_a_malformed_link_asks_no_database(web, monkeypatch):
    set_web(web, token_attempts=1000)
    asked = []
    transaction = web.database.transaction
    monkeypatch.setattr(
        web.database, "transaction", lambda *a, **k: asked.append(a[0]) or transaction(*a, **k)
    )
    for query in BAD:
        if query != "A" * 64:
            web.browser().get(f"/token?{query}")
    assert asked == []


def test_t2_guessing_is_braked_by_address_only(web):
    web.store(FULL)
    set_web(web, token_attempts=5)
    statuses = [web.browser().get("/token?" + c * 64).status for c in "ABCDEFG"]
    assert statuses == [404] * 5 + [429] * 2
    assert web.browser().get(f"/token?{web.token()}").status == 429
    assert web.browser(source="127.0.0.2").get(f"/token?{web.token()}").status == 200
    web.clock.ahead = 61
    assert web.browser().get(f"/token?{web.token()}").status == 200


@pytest.mark.parametrize("path", ["/token", "/token/zip"])
def test_t4_the_link_ends_by_study_accessibility(web, path):
    today = datetime.now().astimezone().date()
    web.store({**FULL, "study_date": f"{today - timedelta(days=10):%Y%m%d}"})
    expected = web.browser().get(f"/token?{'x' * 64}")
    for days, status in ((0, 200), (11, 200), (10, 200), (9, 404), (1, 404)):
        set_web(web, study_accessibility=days)
        answer = web.browser().get(f"{path}?{web.token()}")
        assert answer.status == status, days
        if status == 404:
            assert none_of(answer) == none_of(expected)


@pytest.mark.parametrize("study_date", ["", "20991231"])
def test_t4_without_a_credible_study_date_receipt_counts(web, study_date):
    web.store({**FULL, "study_date": study_date})
    set_web(web, study_accessibility=5)
    assert web.browser().get(f"/token?{web.token()}").status == 200
    web.clock.ahead = 6 * 86400
    assert web.browser().get(f"/token?{web.token()}").status == 404


def test_t4_the_page_says_until_when_it_works(web):
    web.store({**FULL, "study_date": "20261101"})
    days = (date.today() - date(2026, 11, 1)).days + 30  # noqa: DTZ011
    set_web(web, study_accessibility=days)
    last = date(2026, 11, 1) + timedelta(days=days)
    assert f'datetime="{last}"' in web.browser().get(f"/token?{web.token()}").text


def test_t5_a_link_opens_nothing_else(web):
    web.store(
        FULL,
        {"study_instance_uid": "1.2.9", "series_instance_uid": "1.2.9.1", "patient_name": "Roe^R"},
    )
    text = web.browser().get(f"/token?{web.token('1.2.3')}").text
    assert "Roe" not in text
    assert "1.2.9" not in text
    for path in ("/studies/1.2.9", "/patients/1", "/download/study/1.2.3.zip", "/search"):
        assert web.browser().get(f"{path}?{web.token()}").status == 303


def test_t7_nothing_comes_from_or_leads_elsewhere_and_nobody_indexes(web):
    web.store(FULL)
    answer = web.browser().get(f"/token?{web.token()}")
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert "noindex" in answer.headers["X-Robots-Tag"]
    assert answer.headers["Cache-Control"] == "no-store"
    assert "<script" not in answer.text
    links = re.findall(r'(?:href|src|action)="([^"]*)"', answer.text)
    assert all(link.startswith(("/static/", "/token/zip?")) for link in links)
    assert "Disallow: /" in web.browser().get("/robots.txt").text


def test_t8_head_and_range_have_no_side_effect(web):
    web.store(FULL)
    path = f"/token/zip?{web.token()}"
    whole = web.browser().get(path)
    head = web.browser().request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.body))
    part = web.browser().get(path, Range="bytes=0-3")
    assert (part.status, part.body) == (200, whole.body)


def test_t9_a_renewed_link_is_dead_and_the_new_one_works(web):
    from santepacs.model import tokens

    web.store(FULL)
    new = web.token(version=2)
    digest = tokens.digest(new).hex()
    web.sql("UPDATE study SET token_version = 2, token_digest = decode(%s, 'hex')", digest)
    assert web.browser().get(f"/token?{web.token()}").status == 404
    assert web.browser().get(f"/token?{new}").status == 200


def test_t10_the_database_holds_no_link(web):
    web.store(FULL)
    row = web.sql("SELECT study::text AS text FROM study")[0]
    assert web.token() not in row.text


def test_a_post_to_a_link_is_refused(web):
    assert web.browser().request("POST", f"/token?{web.token()}").status == 405
