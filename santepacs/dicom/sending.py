"""Sending one stored object by C-STORE: its data set goes out as it lies in the file.

Only when the receiver did not accept the object's own transfer syntax, and both that and an
accepted one are uncompressed, is the data set written anew.
"""

from array import array
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import _config
from twisted.logger import Logger

from santepacs.db.studies import ObjectFile
from santepacs.dicom.contexts import NATIVE
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import Malformed, Unavailable

log = Logger()

LARGEST_REWRITTEN = 512 * 1024 * 1024  # bytes; an object that is rewritten is held in memory
_WORDS = {"OW": "H", "OF": "I", "OL": "I", "OD": "Q", "OV": "Q"}


def send(
    association: UpperAssociation,
    path: Path,
    stored: ObjectFile,
    *,
    message_id: int,
    originator: str | None = None,
    originator_id: int | None = None,
) -> int:
    """Send the object and return the receiver's status.

    Raises Malformed for an object that cannot go this way (its file is missing or damaged, its
    transfer syntax is not accepted): others may. Raises Unavailable when the association is of no
    more use.
    """
    _check_file(path, stored)
    accepted = _accepted(association, stored.sop_class_uid)
    original: Path | Dataset = path
    if stored.transfer_syntax_uid not in accepted:
        original = _rewritten(path, stored, accepted)
    try:
        answer = association.send_c_store(
            original, message_id, 2, originator_aet=originator, originator_id=originator_id
        )
    except (ValueError, AttributeError):
        raise Malformed("the object cannot be encoded") from None
    except OSError:
        # In the middle of the data set: what comes next would be taken for its end.
        association.end()
        raise Unavailable("the object's file could not be read") from None
    if "Status" not in answer:
        raise Unavailable("the receiver does not answer")
    return int(answer.Status)


def use_file_sending() -> None:
    """Have pynetdicom send a file's data set without decoding it."""
    _config.STORE_SEND_CHUNKED_DATASET = True


def _check_file(path: Path, stored: ObjectFile) -> None:
    try:
        size = path.stat().st_size
    except OSError:
        size = -1
    if size != stored.bytes:
        log.error("the file of a stored object is missing or damaged: {path}", path=path.name)
        raise Malformed("the object's file is missing or damaged")


def _accepted(association: UpperAssociation, sop_class_uid: str) -> set[str]:
    return {
        str(context.transfer_syntax[0])
        for context in association.accepted_contexts
        if context.abstract_syntax == sop_class_uid and context.as_scu
    }


def _rewritten(path: Path, stored: ObjectFile, accepted: set[str]) -> Dataset:
    native = [uid for uid in NATIVE if uid in accepted]
    if stored.transfer_syntax_uid not in NATIVE or not native:
        raise Malformed("the receiver does not accept the object's transfer syntax")
    if stored.bytes > LARGEST_REWRITTEN:
        raise Malformed("the object is too large to be rewritten")
    try:
        return _written_as(dcmread(path), UID(native[0]))
    except Exception:  # noqa: BLE001 - pydicom raises all sorts for what it cannot read
        raise Malformed("the object cannot be rewritten") from None


def _written_as(dataset: Dataset, syntax: UID) -> Dataset:
    """`dataset`, decoded, so that pynetdicom encodes it in the uncompressed `syntax`."""
    swap = dataset.file_meta.TransferSyntaxUID.is_little_endian != syntax.is_little_endian
    for element in dataset.iterall():
        if swap and element.VR in _WORDS and element.value:
            words = array(_WORDS[element.VR], element.value)
            words.byteswap()
            element.value = words.tobytes()
    written = Dataset()
    written.update(dataset)
    written.file_meta = dataset.file_meta
    written.file_meta.TransferSyntaxUID = syntax
    written.set_original_encoding(syntax.is_implicit_VR, syntax.is_little_endian)
    return written
