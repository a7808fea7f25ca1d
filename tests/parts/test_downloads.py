"""Zips as they go over the wire: whole or visibly broken, at the client's pace."""

import dataclasses
import io
import re
import time
import zipfile

import pytest

from santepacs.web import sending
from support.web import running_web


@pytest.fixture
def web(reactor_thread, database_dsn, tmp_path):
    with running_web(reactor_thread, database_dsn.runtime, tmp_path) as running:
        yield running


def contents(answer):
    """File contents by name; the answer must be a whole zip of the announced length."""
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/zip"
    assert len(answer.body) == int(answer.headers["Content-Length"])
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


THREE = [
    {"study_instance_uid": "1.2.3", "series_instance_uid": "1.2.3.1", "content": b"a" * 1000},
    {"study_instance_uid": "1.2.3", "series_instance_uid": "1.2.3.2", "content": b"b" * 2000},
    {"study_instance_uid": "1.2.4", "series_instance_uid": "1.2.4.1", "content": b"c" * 3000},
]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/download/patient/1.zip", [1000, 2000, 3000]),
        ("/download/study/1.2.3.zip", [1000, 2000]),
        ("/download/series/1.2.3.2.zip", [2000]),
    ],
)
def test_a_zip_has_the_objects_of_its_level(web, path, expected):
    web.store(*THREE)
    files = contents(web.logged_in().get(path))
    assert sorted(len(data) for data in files.values()) == expected


def test_the_patients_zip_is_the_study(web):
    web.store(*THREE)
    files = contents(web.browser().get(f"/token/zip?{web.token('1.2.3')}"))
    assert sorted(len(data) for data in files.values()) == [1000, 2000]


@pytest.mark.parametrize(
    "size", [0, 1, sending.PIECE - 1, sending.PIECE, sending.PIECE + 1, 3 * sending.PIECE]
)
def test_files_of_every_size_come_whole(web, size):
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    web.store({"content": content}, {"content": b"after"})
    files = contents(web.logged_in().get("/download/study/1.2.3.zip"))
    assert sorted(files.values(), key=len) == sorted([content, b"after"], key=len)


@pytest.mark.parametrize(
    "name",
    ['a"\r\nSet-Cookie: x=1', "../../etc/passwd", "Παπαδοπουλου^Μαρια", "a;b", "é", "x" * 500, ""],
)
def test_v6_the_file_name_is_harmless(web, name):
    web.store({"patient_name": name.replace("\r\n", " "), "patient_id": name.replace("\r\n", " ")})
    browser = web.logged_in()
    for path in ("patient/1", "study/1.2.3", "series/1.2.3.1"):
        answer = browser.get(f"/download/{path}.zip")
        disposition = answer.headers["Content-Disposition"]
        assert re.fullmatch(r'attachment; filename="[A-Za-z0-9._-]{1,60}\.zip"', disposition)
        assert answer.headers["Set-Cookie"] is None


def break_file(web, entries, how):
    path = web.files.path(entries[1].record.study_instance_uid, entries[1].file.digest)
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "changed":
        path.write_bytes(data[:-1] + b"!")
    elif how == "shorter":
        path.write_bytes(data[:-1])
    elif how == "longer":
        path.write_bytes(data + b"!")


@pytest.mark.parametrize("how", ["missing", "changed", "shorter", "longer"])
def test_f7_a_file_that_is_not_what_was_stored_breaks_the_connection(web, how):
    content = b"x" * (2 * sending.PIECE + 5)
    entries = web.store({"content": b"a" * 10}, {"content": content}, {"content": b"c" * 10})
    break_file(web, entries, how)
    token = web.token()
    answer = web.raw(
        f"GET /token/zip?{token} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head
    assert len(body) < int(re.search(rb"Content-Length: (\d+)", head)[1])
    assert b"PK\5\6" not in body
    web.alive()


def wait_until(condition, seconds=5):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def begin_download(web, token):
    """A download of which a little was read; the client then waits."""
    connection = web.connect()
    connection.sendall(f"GET /token/zip?{token} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert connection.recv(100).startswith(b"HTTP/1.1 ")
    return connection


def test_f6_a_client_that_leaves_frees_its_place_at_once(web):
    web.store(*({"content": bytes(400_000)} for _ in range(100)))
    token = web.token()
    for _ in range(4):
        connection = begin_download(web, token)
        connection.close()
        assert web.server  # the server lives
        began = time.monotonic()
        wait_until(lambda: web.browser().request("HEAD", f"/token/zip?{token}").status == 200, 1)
        assert time.monotonic() - began < 1


def test_t8_a_link_serves_a_few_downloads_at_once(web):
    web.settings.web = dataclasses.replace(web.settings.web, maximum_downloads=2)
    web.store(*({"content": bytes(1_000_000)} for _ in range(40)))
    token = web.token()
    held = [begin_download(web, token) for _ in range(2)]
    refused = web.browser().get(f"/token/zip?{token}")
    assert refused.status == 429
    assert "downloaded already" in refused.text
    for connection in held:
        connection.close()
    wait_until(lambda: web.browser().get(f"/token/zip?{token}").status == 200)


def test_w8_a_client_that_stops_reading_is_cut_off(web, monkeypatch):
    monkeypatch.setattr(sending, "STALL_SECONDS", 0.3)
    web.settings.web = dataclasses.replace(web.settings.web, maximum_downloads=1)
    web.store(*({"content": bytes(1_000_000)} for _ in range(40)))
    token = web.token()
    connection = begin_download(web, token)
    wait_until(lambda: web.browser().request("HEAD", f"/token/zip?{token}").status == 200)
    connection.close()


def test_f6_a_slow_client_does_not_fill_the_memory(web):
    import resource

    web.store(*({"content": bytes(1_000_000)} for _ in range(200)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    held = [begin_download(web, web.token()) for _ in range(2)]
    web.alive()
    time.sleep(0.5)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32_000
    for connection in held:
        connection.close()


def test_many_objects_come_whole(web):
    web.store(*({"content": b"%d" % n} for n in range(2500)))
    files = contents(web.logged_in().get("/download/study/1.2.3.zip"))
    assert len(files) == 2500


def test_others_are_served_during_a_download(web):
    web.store(*({"content": bytes(1_000_000)} for _ in range(40)))
    connection = begin_download(web, web.token())
    began = time.monotonic()
    web.alive()
    assert time.monotonic() - began < 2
    connection.close()
