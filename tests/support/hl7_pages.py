"""What tests of the HL7 tools' pages share: messages, forms with files, a receiver."""

import html
import re
import socket
import threading
from contextlib import contextmanager

from santepacs.worklist import mapping_json

HERE = "/hl7/mapping"

ORM = (
    "MSH|^~\\&|RIS|HOSP|SANTEPACS|X|20261120101112||ORM^O01|C{n}|P|2.3.1||||||UNICODE UTF-8",
    "PID|1||ID{n}^^^HOSP^PI||Παπαδοπουλου^Μαρια^^^Dr||19700131|F",
    "ORC|NW|A{n}|||SC||||||||||20261121093000",
    "OBR|1|A{n}||CT21^Thorax||||||||||||Roe^Richard||CT|||CT01",
    "ZDS|1.2.840.1.{n}^^Application^DICOM",
)
REFUSED = (
    "MSH|^~\\&|OTHER|CLINIC|||20261120||ORM^O01|X1|P|2.3",
    "PID|1||||NoId^Patient",
    "ORC|NW|A9",
    "OBR|1|A9||CT^Head",
)


def orm(number=1):
    """The segments of an order that is accepted."""
    return [line.format(n=number) for line in ORM]


def send_parts(browser, path, fields, headers=(), **files):
    """Send a form as ``multipart/form-data``; `files`: field -> content (bytes)."""
    boundary = "----tests"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode()
        + text.encode()
        for name, text in fields.items()
    ]
    parts += [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="a.hl7"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        for name, content in files.items()
    ]
    body = b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()])
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return browser.request("POST", path, body, {**kind, **dict(headers)})


def submit_parts(browser, page, fields, path=None, **files):
    """Open `page` and send its form with files."""
    proof = browser.get(page).field("proof")
    return send_parts(browser, path or page, {"proof": proof, **fields}, **files)


@contextmanager
def answering(answer):
    """A receiver on loopback; gives its port and what came. `answer(raw)` is what it says."""
    came = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)

        def serve():
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                data = b""
                while not data.endswith(b"\x1c\r"):
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    data += piece
                came.append(data[1:-2])
                connection.sendall(b"\x0b" + answer(data[1:-2]) + b"\x1c\r")

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], came
    thread.join(10)


class MappingForm:
    """The mapping page with its form: what a button press sends is what stands in it."""

    def __init__(self, browser, path=HERE):
        self._browser = browser
        self.answer = browser.get(path)

    def fields(self):
        text = self.answer.text.partition('id="work"')[2]
        found = {
            name: html.unescape(value)
            for name, value in re.findall(r'<input[^>]*name="(\w+)"[^>]*value="([^"]*)"', text)
        }
        for name, value in re.findall(
            r'<textarea[^>]*name="(\w+)"[^>]*>\n(.*?)</textarea>', text, re.S
        ):
            found[name] = html.unescape(value)
        for name, options in re.findall(
            r'<select[^>]*name="(\w+)"[^>]*>(.*?)</select>', text, re.S
        ):
            matches = list(
                re.finditer(r'<option(?: value="([^"]*)")?( selected)?>([^<]*)', options)
            )
            chosen = next((match for match in matches if match[2]), matches[0])
            found[name] = html.unescape(chosen[3] if chosen[1] is None else chosen[1])
        return found

    def press(self, do, files=None, **changes):
        self.answer = send_parts(
            self._browser, HERE, {**self.fields(), "do": do, **changes}, **(files or {})
        )
        return self

    @property
    def text(self):
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", self.answer.text)).split())

    @property
    def mappings(self):
        return mapping_json.parsed(self.fields()["mapping"], "the page")
