"""A storage SCU on a raw socket, and images for it: data sets go out as they are, cut anywhere.

It takes no thread and no time of its own, so a test can have hundreds of them and knows to the
byte what a server was given before something went wrong.
"""

from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import islice

from support import raw_dicom as raw
from support.archive import ct, dataset_bytes, encoded

ROOT = "1.2.826.0.1.3680043.8.498"
FRAGMENT = 16_000  # bytes
TIMEOUT = 60  # seconds
_PLACE = "9" * 12  # stands for a number in the template


@dataclass(frozen=True)
class Image:
    """An object as it is sent: its encoded data set and the UIDs in it."""

    uid: str
    study: str
    data: bytes

    def altered(self, number):
        """Another object under the same SOP Instance UID."""
        return Image(self.uid, self.study, self.data[:-4] + number.to_bytes(4, "big"))


def image(study, number, rows=64):
    """One CT image of a study (a number), about `rows` * `rows` * 2 bytes long."""
    uid = f"{ROOT}.{study}.{10**11 + number}"
    head, pixels = _template(study, number % 3, rows)
    data = head.replace(f"{ROOT}.{study}.{_PLACE}".encode(), uid.encode())
    return Image(uid, study_uid(study), data + number.to_bytes(4, "little") * (pixels // 4))


def images(study, count, rows=64):
    """Images of one study, in three series."""
    return [image(study, number, rows) for number in range(count)]


def study_uid(study):
    """The Study Instance UID of a study (a number)."""
    return f"{ROOT}.{study}"


@cache
def _template(study, series, rows):
    dataset = ct(
        SOPInstanceUID=f"{ROOT}.{study}.{_PLACE}",
        StudyInstanceUID=study_uid(study),
        SeriesInstanceUID=f"{ROOT}.{study}.{series + 1}",
        SeriesNumber=series + 1,
        PatientID=f"P{study}",
        InstanceNumber=None,
        Rows=rows,
        Columns=rows,
        PixelData=bytes(rows * rows * 2),
    )
    data = dataset_bytes(encoded(dataset))
    return data[: -rows * rows * 2], rows * rows * 2


class Sender:
    """An association that stores CT images (and echoes)."""

    def __init__(self, port, calling=b"SENDER", timeout=TIMEOUT):
        self.peer = raw.Peer(port)
        self._timeout = timeout
        self.peer.send(
            raw.associate_request((raw.CT, raw.EXPLICIT), raw.VERIFICATION, calling=calling)
        )
        kind, body = self.peer.receive(timeout)
        if kind != raw.ACCEPT:
            self.close()
            raise ConnectionRefusedError(kind, body)

    def store(self, image):
        """Send one image; the status, or None when the connection ended before the answer."""
        try:
            for piece in pieces(image):
                self.peer.send(piece)
        except ConnectionError:
            return None
        return self._answer()

    def begin(self, image, fragments):
        """Send the command and so many fragments, and no more."""
        for piece in islice(pieces(image), fragments + 1):
            self.peer.send(piece)

    def echo(self):
        """C-ECHO; its status, or None when the connection has ended."""
        with suppress(ConnectionError):
            self.peer.message(raw.echo_command(), context_id=3)
        return self._answer()

    def _answer(self):
        try:
            return self.peer.answer(self._timeout).status
        except AssertionError:
            return None

    def release(self):
        """Release orderly."""
        self.peer.release()

    def abort(self):
        """A-ABORT, then close."""
        self.peer.send(raw.pdu(raw.ABORT, bytes(4)))
        self.close()

    def reset(self):
        """End by TCP RST."""
        self.peer.reset()

    def close(self):
        """End by FIN, without a word."""
        self.peer.socket.close()


def pieces(image):
    """The PDUs of a C-STORE request: the command, then each fragment of the data set."""
    yield raw.p_data(raw.WHOLE_COMMAND, raw.store_command(image.uid))
    for cut in range(0, len(image.data), FRAGMENT):
        last = cut + FRAGMENT >= len(image.data)
        yield raw.p_data(raw.LAST if last else raw.MORE, image.data[cut : cut + FRAGMENT])


def fragments(image):
    """In how many fragments an image's data set is sent."""
    return -(-len(image.data) // FRAGMENT)
