"""Attacks on the HL7 port and the web of the whole server, numbered as in the table of attacks.

After every test the server must be alive: C-ECHO, landing page, a valid order, the same process.
At the end nothing that it wrote may hold a name, a password, a cookie or a whole token (V-8).
"""

import re
import socket
from contextlib import contextmanager

import pytest
from pynetdicom import AE

from support import dicom
from support.archive import ct
from support.clients import ORDER, Browser, exchange, mllp, order, received, until_closed
from support.postgres import reachable_folder
from support.server import ADMIN_PASSWORD, running_server

ROOT = "1.2.826.0.1.3680043.8.498.50"
JANE, SPLIT, OTHER = (f"{ROOT}.{number}" for number in (1, 2, 3))
SPLITTING = f"X\r{'F' * 64}\r1.2.3\r20260101\rY"
STRANGER, BUSY_NODE = "127.0.0.2", "127.0.0.9"
RATE = 500


@pytest.fixture(scope="module")
def server():
    settings = ["hl7.trust_loopback=no", f"hl7.token_rate={RATE}"]
    with reachable_folder() as folder:
        data = folder / "data"
        with running_server(data, settings) as running:
            for name, address in (("HIS", "127.0.0.1"), ("BUSY", BUSY_NODE)):
                assert running.command("node", "add", name, address).returncode == 0
            fill(running)
            running.token = running.command("token", JANE).stdout.strip()
            running.secrets = ["erysecret", "mistyped horse", ADMIN_PASSWORD, running.token]
            yield running
        logs = [path.read_text("utf-8", "replace") for path in (data / "log").iterdir()]
        for text in (running.output, *logs):
            assert [secret for secret in running.secrets if secret in text] == []


def fill(server):
    studies = (
        {"StudyInstanceUID": JANE, "PatientID": "P1", "StudyDescription": "Thorax"},
        {"StudyInstanceUID": SPLIT, "PatientID": "P2", "StudyDescription": SPLITTING},
        {"StudyInstanceUID": OTHER, "PatientID": JANE},
    )
    with association(server, dicom.CT) as storing:
        for number, values in enumerate(studies):
            uids = {"SOPInstanceUID": f"{ROOT}.9.{number}", "SeriesInstanceUID": f"{ROOT}.8"}
            image = ct(PatientName="Verysecret^Jane", **values, **uids)
            assert storing.send_c_store(image).Status == 0x0000


@pytest.fixture(autouse=True)
def alive(server):
    yield
    with association(server, dicom.VERIFICATION) as echoing:
        assert echoing.send_c_echo().Status == 0x0000
    assert Browser(server.web_port).get("/").status == 200
    assert b"\rMSA|AA|1" in mllp(server.hl7_port, order(patient_name="Verysecret^Jane"))
    assert server.process.poll() is None  # the one that was started: nothing starts another


def test_k1_k2_k9_a_study_and_a_patient_have_their_tokens_and_a_study_goes_first(server):
    # JANE is the Patient ID of OTHER, too.
    uid, token = JANE.encode(), server.token.encode()
    assert exchange(server.hl7_port, b"\x10%b\r" % uid) == b"\x10%b\r" % token
    assert exchange(server.hl7_port, b"\x10P1\r") == b"\x10%b\r20260102\rThorax\r%b\r\r" % (
        uid,
        token,
    )


@pytest.mark.parametrize("data", [b"\x10P1\r", b"\x10nobody\r", b"\x0b" + order() + b"\x1c\r"])
def test_k3_h12_a_stranger_gets_zero_bytes(server, data):
    assert until_closed(server.hl7_port, data, source=STRANGER) == b""


UNKNOWN = (
    b"", b"nobody", b"1.2.3.", b"%", b"_", b"*", b"?", b"P", b"p1", b"P1 ", b"P%", b"\\", b"\x01",
    b"' OR 1=1--", b"P1' --", b"P1\0", b"P1\t", b"\xff\xfe", bytes(range(128, 256)), b"9" * 65,
    "P1".encode("utf-16-le"), b"x" * 256,
)  # fmt: skip


def test_k5_k6_what_is_not_there_has_one_answer(server):
    requests = b"".join(b"\x10%b\r" % identifier for identifier in UNKNOWN)
    assert exchange(server.hl7_port, requests) == b"\x10\r" * len(UNKNOWN)


def test_k6_a_long_request_is_closed(server):
    for length in (257, 10_000_000):
        assert until_closed(server.hl7_port, b"\x10" + b"x" * length) == b""


def test_k6_requests_are_answered_in_order_however_they_are_cut(server):
    requests = b"\x10nobody\r\x10%b\r\r\x10nobody\r" % JANE.encode()
    expected = b"\x10\r\x10%b\r\x10\r" % server.token.encode()
    with socket.create_connection(("127.0.0.1", server.hl7_port), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in requests:
            connection.sendall(bytes([byte]))
        connection.shutdown(socket.SHUT_WR)
        assert received(connection) == expected


def test_k7_one_source_is_braked_and_no_other(server):
    many = b"".join(b"\x10%06d\r" % number for number in range(2 * RATE))
    answer = until_closed(server.hl7_port, many, source=BUSY_NODE)
    assert answer == b"\x10\r" * (len(answer) // 2)
    assert len(answer) // 2 < 2 * RATE
    assert until_closed(server.hl7_port, b"\x10P1\r" * 50, source=BUSY_NODE).count(b"\x10") < 50
    assert exchange(server.hl7_port, b"\x10P1\r").count(b"\r") == 5


def test_k8_a_description_forges_no_study(server):
    answer = exchange(server.hl7_port, b"\x10P2\r")
    uid, day, description, token, *end = answer[1:].split(b"\r")
    assert (uid, day, end) == (SPLIT.encode(), b"20260102", [b"", b""])
    assert description == SPLITTING.replace("\r", " ").encode()
    assert re.fullmatch(rb"[A-Za-z0-9]{64}", token) and token not in SPLITTING.encode()
    server.secrets.append(token.decode())


def test_k10_the_two_protocols_never_mix(server):
    both = exchange(server.hl7_port, b"\x0b" + order() + b"\x1c\r\x10nobody\r")
    assert both.count(b"MSA|AA") == 1 and both.endswith(b"\x1c\r\x10\r")
    assert until_closed(server.hl7_port, b"\x10\x0bMSH|\r") == b""
    inside = exchange(server.hl7_port, b"\x0b" + order(patient_id="\x10P1\r") + b"\x1c\r")
    assert server.token.encode() not in inside


@pytest.mark.parametrize(
    "message",
    [
        b"MSH", b"MSH|", b"MSH|||||", b"MSH\r|", b"PID|1\rMSH|", b"\x0b", b"MSH|^~\\&|A\r" * 1001,
        b"MSH|^~\\&|A\r" + b"PID|1\r" * 100_000, order(station="A" * 2_000_000).replace(b"P1", b""),
        *(b"MSH|^~\\&|%b" % (character * 1_000_000) for character in (b"|", b"~", b"^", b"\\X41")),
    ],
)  # fmt: skip
def test_h2_h3_what_is_no_message_is_not_accepted(server, message):
    assert b"MSA|AA" not in exchange(server.hl7_port, b"\x0b%b\x1c\r" % message)
    assert b"MSA|AA" not in exchange(server.hl7_port, b"\x0b" + message)


@pytest.mark.parametrize("text", [r"1\X0D\MSA\F\AR", r"1\.br\MSA\F\AR", r"1\XZZ\\Zx\\E\\R\\S\ \X0"])
def test_h4_no_escape_makes_a_segment(server, text):
    answer = exchange(
        server.hl7_port, b"\x0b" + order(control_id=text, patient_name=text) + b"\x1c\r"
    )
    assert re.findall(rb"\r(\w+)", answer) in ([b"MSA"], [b"MSA", b"ERR"])


@pytest.mark.parametrize("charset", ["", "UNICODE UTF-8", "UNICODE UTF-16", "8859/7", "KLINGON"])
def test_h6_any_bytes_under_any_character_set_are_answered(server, charset):
    for name in (b"\xff\xfe\xc0\xa7", b"M\xfcller", b"\xc0\x80", b"A\0B"):
        header, _, body = order(patient_name="NAME").replace(b"NAME", name).partition(b"\r")
        message = b"%b||||||%b\r%b" % (header, charset.encode(), body)
        assert b"MSA|A" in exchange(server.hl7_port, b"\x0b" + message + b"\x1c\r")


@pytest.mark.parametrize("field", sorted(set(re.findall(r"{(\w+)}", ORDER))))
def test_h7_sql_is_text(server, field):
    values = {"accession": "SQL", field: "x'); DELETE FROM study; --"}
    assert b"MSA|A" in mllp(server.hl7_port, order(**values))
    assert exchange(server.hl7_port, b"\x10P1\r").count(b"\r") == 5


@pytest.mark.parametrize("uid", ["../../x", "..", "1..2", "1." + "2" * 63, "1.2.x", "1.02"])
def test_h7_an_impossible_study_uid_is_refused(server, uid):
    assert b"MSA|AE" in mllp(server.hl7_port, order(accession="Z1") + f"ZDS|{uid}\r".encode())


def test_h9_h10_a_repetition_an_unknown_cancel_and_an_acknowledgement_are_harmless(server):
    for _ in range(2):
        assert b"MSA|AA|9" in mllp(server.hl7_port, order(accession="H9", control_id="9"))
    cancel = order(accession="NONE", control_id="10").replace(b"ORC|NW", b"ORC|CA")
    assert b"MSA|AA|10" in mllp(server.hl7_port, cancel)
    ack = b"\x0bMSH|^~\\&|A|B|||||ACK|7|P|2.3\rMSA|AA|7\r\x1c\r"
    assert exchange(server.hl7_port, ack) == b""


def test_t1_t3_whatever_is_no_token_gets_one_page(server):
    last = "a" if server.token[-1] != "a" else "b"
    queries = (
        "", "'%20OR%20'1'='1", "x';COPY%20t%20FROM%20PROGRAM%20'id'--", "%27", "%00", "A" * 63,
        "A" * 64, "A" * 65, "A" * 10_000, "token=" + server.token, server.token * 2,
        server.token[:-1] + last, server.token.swapcase(), server.token + "&x=1",
    )  # fmt: skip
    pages = [Browser(server.web_port).get(f"/token?{query}") for query in queries]
    assert {(page.status, page.body) for page in pages} == {(404, pages[0].body)}


def test_t7_the_patients_page_tells_nobody_where_it_is(server):
    page = Browser(server.web_port).get(f"/token?{server.token}")
    assert page.status == 200 and "Verysecret" in page.text
    assert not re.search(r"""(?:src|href|action)=["']?(?:https?:)?//""", page.text)
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["Cache-Control"] == "no-store"
    assert "noindex" in page.headers["X-Robots-Tag"]


def test_w1_w14_a_hostile_name_is_a_wrong_one_and_is_shown_as_text(server):
    for name in ("' OR '1'='1' --", "admin'--", "<p/onclick=alert(1)>"):
        answer = Browser(server.web_port).log_in(name, "mistyped horse")
        assert answer.status in (401, 429) and "<p/onclick" not in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../.HTTP/HTTP.db", "/static/..%2f..%2fetc/passwd", "/%2e%2e/secret.key",
        "/static/..%5c..%5cx", "/static/%252e%252e/x", "/.../...//etc/passwd", "//etc/passwd",
        "/static/%00.css", "/static/%c0%ae%c0%ae/x", "/etc/passwd",
    ],
)  # fmt: skip
def test_w4_no_path_climbs_out(server, path):
    assert until_closed(server.web_port, f"GET {path} HTTP/1.0\r\n\r\n".encode())[9:12] == b"404"


@pytest.mark.parametrize(
    "length",
    [
        *(b"Content-Length: " + value for value in (b"", b"-1", b"+5", b"0x10", b"1 2")),
        b"Content-Length: 5\r\nContent-Length: 6", b"Transfer-Encoding: chunked, identity",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    ],
)  # fmt: skip
def test_w6_an_unclear_length_is_refused_and_nothing_is_smuggled(server, length):
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"
    request = b"POST /login HTTP/1.1\r\nHost: localhost\r\n%b\r\n\r\n" % length
    answer = until_closed(server.web_port, request + smuggled)
    assert answer.startswith(b"HTTP/1.1 400") and answer.count(b"HTTP/1.1 ") == 1
    assert "/smuggled" not in server.output


@pytest.mark.parametrize("host", [b"evil.example", b"<script>", b"127.0.0.1@evil"])
def test_w14_a_foreign_host_is_refused(server, host):
    answer = until_closed(
        server.web_port, b"GET / HTTP/1.1\r\nConnection: close\r\nHost: %b\r\n\r\n" % host
    )
    assert answer[9:12] in (b"400", b"421") and b"<script>" not in answer


@pytest.mark.parametrize("onward", ["//evil.example", "javascript:alert(1)", "/\\evil.example"])
def test_w14_w18_log_in_stays_here_and_forms_must_be_ours(server, onward):
    browser = Browser(server.web_port)
    fields = {"username": "admin", "password": ADMIN_PASSWORD}
    for headers in ({}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        assert browser.request("POST", "/login", fields, headers).status == 403
    answer = browser.submit("/login", "/login", **fields, next=onward)
    assert (answer.status, answer.headers["Location"]) == (303, "/search")
    server.secrets.append(browser.cookies["santepacs"])
    assert browser.request("POST", "/logout", {}).status == 403
    assert browser.get("/logout").status == 200
    assert "Verysecret" in browser.get("/search?q=verysecret").text


@contextmanager
def association(server, sop_class):
    """An association of pynetdicom's own SCU."""
    entity = AE("TESTER")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    entity.add_requested_context(sop_class, dicom.NATIVE)
    made = entity.associate("127.0.0.1", server.dicom_port, ae_title="SANTEPACS")
    assert made.is_established
    yield made
    made.release()
