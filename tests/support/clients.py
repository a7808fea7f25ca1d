"""Small clients of the HL7 port and the web, on raw sockets where bytes matter."""

import http.client
import re
import socket
import urllib.parse
from contextlib import suppress
from http.cookies import SimpleCookie

TIMEOUT = 20

ORDER = "\r".join(
    (
        r"MSH|^~\&|RIS|HOSPITAL|SANTEPACS|RADIOLOGY|20261120101500||ORM^O01|{control_id}|P|2.3.1",
        "PID|||{patient_id}||{patient_name}||19780405|F",
        "PV1||O",
        "ORC|NW|{accession}|||SC||||||||||{start}",
        "OBR|1|{accession}||{procedure}^{description}||||||||||||Roe^Richard||{modality}|||{station}",
        "",
    )
)


def order(**values):
    """An ORM^O01 that the seed's default mapping understands, as bytes."""
    defaults = {
        "control_id": "1",
        "patient_id": "P1",
        "patient_name": "Doe^Jane",
        "accession": "A1",
        "start": "20261121093000",
        "procedure": "5355",
        "description": "THORAX",
        "modality": "CT",
        "station": "CT1",
    }
    return ORDER.format(**defaults | values).encode("utf-8")


def mllp(port, message, host="127.0.0.1"):
    """Send one MLLP message; returns the answer without its frame."""
    with socket.create_connection((host, port), TIMEOUT) as connection:
        connection.sendall(b"\x0b" + message + b"\x1c\r")
        answer = b""
        while not answer.endswith(b"\x1c\r"):
            piece = connection.recv(65536)
            assert piece, f"closed after {answer!r}"
            answer += piece
    return answer.removeprefix(b"\x0b").removesuffix(b"\x1c\r")


def exchange(port, data):
    """Send bytes and no more; everything that comes back."""
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        return received(connection)


def until_closed(port, data, source="127.0.0.1"):
    """Send bytes; what comes back until the server closes the connection by itself."""
    address = ("127.0.0.1", port)
    with socket.create_connection(address, TIMEOUT, source_address=(source, 0)) as connection:
        with suppress(ConnectionError):
            connection.sendall(data)
        return received(connection)


def received(connection):
    """Everything that comes to the end of the connection."""
    answer = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            answer += piece
    return answer


def token_request(port, identifier, host="127.0.0.1", quiet=0.3):
    """Send one token request; returns everything that comes until `quiet` seconds of silence."""
    with socket.create_connection((host, port), TIMEOUT) as connection:
        connection.sendall(b"\x10" + identifier + b"\r")
        answer = connection.recv(65536)
        connection.settimeout(quiet)
        try:
            while piece := connection.recv(65536):
                answer += piece
        except TimeoutError:
            pass
    return answer


class Browser:
    """A web client without a browser: keeps cookies, fills in forms, follows no redirect."""

    def __init__(self, port, host="127.0.0.1"):
        self._address = (host, port)
        self.cookies = {}

    def request(self, method, path, fields=None, headers=None):
        """The answer with its whole body read: `.status`, `.headers`, `.body`, `.text`."""
        connection = http.client.HTTPConnection(*self._address, timeout=TIMEOUT)
        sent = dict(headers or {})
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        body = None
        if fields is not None:
            body = urllib.parse.urlencode(fields)
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        answer.body = answer.read()
        answer.text = answer.body.decode("utf-8", "replace")
        connection.close()
        for line in answer.headers.get_all("Set-Cookie") or ():
            for name, morsel in SimpleCookie(line).items():
                self.cookies[name] = morsel.value
        return answer

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def submit(self, path, form_page, **fields):
        """Fill in the form of `form_page` that goes to `path`, with its hidden fields."""
        page = self.get(form_page).text
        form = re.search(rf'<form[^>]*action="{re.escape(path)}".*?</form>', page, re.DOTALL)
        assert form, page
        hidden = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form[0]))
        return self.request("POST", path, {**hidden, **fields})

    def log_in(self, name, password):
        return self.submit("/login", "/login", username=name, password=password)
