"""Search, patients, studies and series as a logged-in user sees them."""

import dataclasses
import html
import re

import pytest

from santepacs.host.listening import first_address
from support.web import running_web


@pytest.fixture
def web(reactor_thread, database_dsn, tmp_path):
    with running_web(reactor_thread, database_dsn.runtime, tmp_path) as running:
        yield running


@pytest.fixture
def browser(web):
    return web.logged_in()


def study(number, **changes):
    uid = f"1.2.{number}"
    return {
        "patient_id": f"P{number}", "study_instance_uid": uid, "series_instance_uid": f"{uid}.1",
        "sop_instance_uid": f"{uid}.1.1", "study_date": f"2026{number:04d}", **changes,
    }  # fmt: skip


def names(answer):
    """The patients of a result page, in order."""
    assert answer.status == 200
    found = re.findall(r'class="row-link"[^>]*>(.*?)</a>', answer.text, re.DOTALL)
    return [html.unescape(re.sub(r"<[^>]+>", "", text)).strip() for text in found]


PEOPLE = [
    study(1101, patient_name="Doe^Jane", patient_sex="F", patient_birth_date="19610304",
          modality="CT", accession_number="A1000", referring_physician_name="Roe^Richard",
          institution_name="General Hospital"),
    study(1102, patient_name="Müller^Jörg", patient_sex="M", modality="MR",
          accession_number="B77", institution_name="St. Mary's"),
    study(1103, patient_name="Παπαδόπουλος^Μάριος", modality="CT", patient_id="GR-1"),
    study(1104, patient_name="Yamada^Tarou=山田^太郎=やまだ^たろう", modality="US"),
    study(1105, patient_name="O'Neil^Mary Jane", modality="MG", patient_id="100%_x"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["O'Neil, Mary Jane", "Yamada, Tarou · 山田, 太郎 · やまだ, たろう",
              "Παπαδόπουλος, Μάριος", "Müller, Jörg", "Doe, Jane"]),
        ("q=mull", ["Müller, Jörg"]), ("q=MULLER+jorg", ["Müller, Jörg"]),
        ("q=jane", ["O'Neil, Mary Jane", "Doe, Jane"]), ("q=jane+doe", ["Doe, Jane"]),
        ("q=%CF%80%CE%B1%CF%80%CE%B1%CE%B4%CE%BF%CF%80", ["Παπαδόπουλος, Μάριος"]),
        ("q=%E5%B1%B1%E7%94%B0", ["Yamada, Tarou · 山田, 太郎 · やまだ, たろう"]),
        ("q=P1101", ["Doe, Jane"]), ("q=p11", ["Yamada, Tarou · 山田, 太郎 · やまだ, たろう",
                                               "Müller, Jörg", "Doe, Jane"]),
        ("q=a1000", ["Doe, Jane"]), ("q=2026-11-02", ["Müller, Jörg"]),
        ("q=20261102", ["Müller, Jörg"]),
        ("q=doe+2026-11", ["Doe, Jane"]), ("q=doe+2025", []),
        ("q=ct", ["Παπαδόπουλος, Μάριος", "Doe, Jane"]),
        ("q=do", ["Doe, Jane"]), ("q=ne", []), ("q=o'neil", ["O'Neil, Mary Jane"]),
        ("q=zzz", []), ("q=%25", []), ("q=_", []), ("q=100%25_", ["O'Neil, Mary Jane"]),
        ("name=doe", ["Doe, Jane"]), ("name=j*g", ["Müller, Jörg"]),
        ("name=doe%2C+jane", ["Doe, Jane"]),
        ("name=d%3Fe", ["Doe, Jane"]), ("patient_id=GR-1", ["Παπαδόπουλος, Μάριος"]),
        ("patient_id=100%25", ["O'Neil, Mary Jane"]), ("patient_id=*1101", ["Doe, Jane"]),
        ("sex=F", ["Doe, Jane"]), ("birth_date=1961-03-04", ["Doe, Jane"]),
        ("date_from=2026-11-04", ["O'Neil, Mary Jane",
                                  "Yamada, Tarou · 山田, 太郎 · やまだ, たろう"]),
        ("date_to=2026-11-01", ["Doe, Jane"]), ("accession_number=B", ["Müller, Jörg"]),
        ("institution=mary", ["Müller, Jörg"]) , ("institution=general+hosp", ["Doe, Jane"]),
        ("referring_physician=rich", ["Doe, Jane"]), ("referring_physician=roe", ["Doe, Jane"]),
        ("modality=mg", ["O'Neil, Mary Jane"]), ("name=doe&modality=MR", []),
        ("q=jane&modality=MG", ["O'Neil, Mary Jane"]),
    ],
)  # fmt: skip
def test_s145_patients_are_found(web, browser, query, expected):
    web.store(*PEOPLE)
    found = names(browser.get("/search?" + query))
    assert found == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=jane", ["O'Neil, Mary Jane", "Doe, Jane"]), ("q=a1000", ["Doe, Jane"]),
        ("q=P1102", ["Müller, Jörg"]), ("q=jane+2026-11-01", ["Doe, Jane"]), ("q=zzz", []),
    ],
)  # fmt: skip
def test_a_common_word_finds_the_same_as_a_rare_one(web, browser, monkeypatch, query, expected):
    monkeypatch.setattr("santepacs.db.browse._RARE", 0)
    web.store(*PEOPLE)
    assert names(browser.get("/search?" + query)) == expected


def test_a_patient_stands_once_with_what_matched(web, browser):
    web.store(
        study(1101, patient_id="P1", study_description="old", modality="CT"),
        study(1103, patient_id="P1", study_description="new", modality="MR"),
        study(1102, patient_id="P2", patient_name="Other^One"),
    )
    answer = browser.get("/search")
    assert names(answer) == ["Doe, Jane", "Other, One"]
    row = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text.split("<tbody>")[1]))
    assert "2026-11-03 new" in row
    assert re.search(r"CT\s+MR\s+2\s+2", row)
    narrowed = browser.get("/search?modality=CT")
    assert "2026-11-01" in narrowed.text
    assert "2026-11-03" not in narrowed.text


@pytest.mark.parametrize("sort", ["date", "name"])
def test_pages_continue_without_gap_or_repetition(web, browser, sort):
    web.store(
        *(
            study(100 + n, patient_id=f"P{n % 60}", patient_name=f"Name{n % 60:03d}^X",
                  study_date="2026010" + str(n % 7))
            for n in range(140)
        )
    )  # fmt: skip
    seen, path = [], f"/search?sort={sort}"
    while path:
        answer = browser.get(path)
        seen += names(answer)
        following = re.search(r'href="([^"]+)" rel="next"', answer.text)
        path = html.unescape(following[1]) if following else ""
    assert len(seen) == 60
    assert len(set(seen)) == 60
    if sort == "name":
        assert seen == sorted(seen)


@pytest.mark.parametrize("cursor", ["x", "20261120", "20261120-143000-99999999999999999999", "--1"])
def test_a_broken_cursor_begins_at_the_beginning(web, browser, cursor):
    web.store(*PEOPLE)
    assert browser.get(f"/search?after={cursor}").status == 200
    assert browser.get(f"/search?sort=name&after={cursor}").status == 200


def test_an_empty_archive_says_how_images_get_here(web, browser):
    web.settings.dicom = dataclasses.replace(web.settings.dicom, ae_title="MYPACS", port=4242)
    text = browser.get("/search").text
    assert "No images yet" in text
    assert "MYPACS" in text
    assert "4242" in text
    web.settings.web = dataclasses.replace(web.settings.web, server_name="pacs.example.org")
    assert "pacs.example.org" in browser.get("/search").text
    web.store({})
    assert "Nothing matches" in browser.get("/search?q=zzz").text


def test_a_date_that_is_none_is_said_at_its_field_and_stays(web, browser):
    text = browser.get("/search?birth_date=1961-02-30").text
    assert "Not a date" in text
    assert 'value="1961-02-30"' in text
    assert "<details" in text
    assert " open>" in text


@pytest.mark.parametrize("query", ["q=%ff", "q=%00", "q=a&q=b", "&".join(["a=1"] * 200)])
def test_a_broken_query_is_refused(web, browser, query):
    assert browser.get("/search?" + query).status == 400


def test_the_studies_of_a_patient_are_listed_newest_first(web, browser):
    web.store(
        study(1101, patient_id="P1", study_description="first", study_time="083000"),
        study(1102, patient_id="P1", study_description="second", accession_number="A5"),
    )
    text = browser.get("/patients/1").text
    assert text.index("second") < text.index("first")
    assert "08:30" in text
    assert 'title="Sunday"' in text
    assert "A5" in text
    assert "/studies/1.2.1101#link" in text
    assert "/download/study/1.2.1101.zip" in text
    assert "/download/patient/1.zip" in text


def test_an_identity_conflict_is_said_in_words(web, browser):
    web.store(
        study(1101, patient_id="P1", patient_name="Doe^Jane", patient_birth_date="19610304"),
        study(1102, patient_id="P1", patient_name="Roe^Richard", patient_birth_date="19700101"),
    )
    assert "Names or birth dates differ" in browser.get("/search").text
    patient = browser.get("/patients/1").text
    assert "Is this one person?" in patient
    assert "Roe, Richard" in patient
    assert "Is this the right patient?" in browser.get("/studies/1.2.1102").text
    assert "Is this the right patient?" not in browser.get("/studies/1.2.1101").text


def test_a_study_shows_series_facts_and_the_whole_link(web, browser):
    web.store(
        {"series_number": 2, "series_description": "axial", "study_description": "Thorax",
         "referring_physician_name": "Roe^Richard", "study_id": "S9"},
    )  # fmt: skip
    text = browser.get("/studies/1.2.3").text
    for part in ("axial", "Thorax", "Roe, Richard", "S9", "/download/series/1.2.3.1.zip"):
        assert part in text
    # Opened as a loopback address, the portal still gives away links that lead here from outside.
    host = first_address() if first_address() != "localhost" else "127.0.0.1"
    assert f"http://{host}:{web.port}/token?{web.token()}</textarea>" in text


def test_s160_the_link_takes_the_servers_name_when_it_is_set(web, browser):
    web.store({})
    web.settings.web = dataclasses.replace(web.settings.web, server_name="pacs.example.org")
    link = f"http://pacs.example.org:{web.port}/token?{web.token()}"
    assert link in browser.get("/studies/1.2.3").text


@pytest.mark.parametrize(
    "path",
    [
        "/patients/0", "/patients/x", "/patients/-1", "/patients/1.5", "/patients/" + "9" * 19,
        "/patients/" + "9" * 18, "/studies/9.9", "/studies/x", "/studies/..", "/studies/1.2.3%20",
        "/studies/" + "1." * 50 + "1", "/studies/1.2.3%27", "/download/patient/9.zip",
        "/download/study/9.9.zip", "/download/series/9.9.zip", "/download/study/x.zip",
        "/download/series/%00.zip", "/patients/%D9%A1", "/download/study/1.2.3", "/patients/",
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_page(web, browser, path):
    web.store({})
    answer = browser.get(path)
    assert answer.status == 404
    strip = re.compile(r'value="[^"]*"')
    assert strip.sub("", answer.text) == strip.sub("", browser.get("/nothing").text)


HOSTILE = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", "{% raw %}",
    "</textarea><b>", "javascript:alert(1)", "a\u2028b", "a\u202ebcd", "' onfocus='alert(1)",
    "${7*7}", "&lt;b&gt;", "]]>",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_v1_stored_text_is_shown_as_text_everywhere(web, text):
    web.store(
        {
            "patient_name": text, "patient_id": text, "study_description": text,
            "institution_name": text, "referring_physician_name": text, "study_id": text,
            "accession_number": text, "series_description": text, "protocol_name": text,
            "modality": text, "body_part_examined": text, "patient_sex": text,
            "issuer_of_patient_id": text,
        }
    )  # fmt: skip
    browser = web.logged_in(name="us<b>er")
    pages = [
        browser.get(path)
        for path in ("/", "/search", "/patients/1", "/studies/1.2.3", f"/token?{web.token()}")
    ]
    assert all(page.status == 200 for page in pages)
    for page in pages:
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert not re.search(r"<[^>]*\son[a-z]+=", re.sub(r'"[^"]*"', '""', page.text))
        assert 'href="javascript' not in page.text
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u2028\u2029\0\x1b]", page.text)
    if "7*7" in text:
        assert all(">49<" not in page.text for page in pages)
        assert "7*7" in pages[1].text
    assert "us&lt;b&gt;er" in pages[0].text
