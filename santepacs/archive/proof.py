"""Whether a stored object's file still is what its name says.

Read, not mapped: a disk that fails then is an error to be told, not the end of the process.
Blocking: for threads only.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

from santepacs.archive.header import read_file_meta
from santepacs.errors import Conflict, NotFound

_PIECE = 1024 * 1024  # bytes; no File Meta Information is longer


def prove(path: Path, digest: str, size: int, check: Callable[[], None]) -> None:
    """Read the whole file and compare it with the content `digest` and `size` of the index.

    Raises NotFound when there is no file, Conflict or Malformed when it is not that object, OSError
    when it cannot be read. `check` is called for every piece read and gives up by raising.
    """
    check_size(path, size)
    with open(path, "rb", buffering=0) as file:
        piece = file.read(_PIECE)
        meta = read_file_meta(piece)
        proof = hashlib.sha256(meta.transfer_syntax_uid.encode("ascii") + b"\0")
        proof.update(memoryview(piece)[meta.dataset_offset :])
        while piece := file.read(_PIECE):
            check()
            proof.update(piece)
    if proof.hexdigest() != digest:
        raise Conflict("the object's file is damaged")


def check_size(path: Path, size: int) -> None:
    """Only look whether the file is there and as long as it was. Raises NotFound, Conflict."""
    try:
        found = path.stat().st_size
    except FileNotFoundError:
        raise NotFound("the object's file is missing") from None
    if found != size:
        raise Conflict("the object's file has another length than it had")
