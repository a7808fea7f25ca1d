"""Data sets of C-STORE on their way to a file: never held in memory, never left behind."""

import io
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

LARGEST_OBJECT = 4 * 1024**3  # bytes


class Spool(io.BytesIO):
    """A data set that goes to a file as it arrives; pynetdicom takes it for a BytesIO.

    Without a folder it goes nowhere: its sender may not store. A disk that is full is remembered,
    for the answer, and the rest is dropped.
    """

    def __init__(self, folder: Path | None, header: bytes) -> None:
        super().__init__()
        self.path = None if folder is None else folder / f"{uuid.uuid4().hex}.part"
        self.failure: OSError | None = None
        self._size = 0
        self._file: BinaryIO | None = None
        if self.path is not None:
            try:
                self._file = open(self.path, "xb", buffering=256 * 1024)  # noqa: SIM115
                self._file.write(header)
            except OSError as error:
                self._fail(error)

    def write(self, data: Any) -> int:
        """Take a fragment. Raises ValueError beyond the largest object."""
        self._size += len(data)
        if self._size > LARGEST_OBJECT:
            raise ValueError("the data set is too large")
        if self._file is not None:
            try:
                self._file.write(data)
            except OSError as error:
                self._fail(error)
        return len(data)

    def finish(self) -> Path | None:
        """The complete file; None if there is none (`failure` says why, if the disk did)."""
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                self._fail(error)
            self._file = None
        return None if self.failure else self.path

    def discard(self) -> None:
        """Remove the file, wherever it got to."""
        self.finish()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _fail(self, error: OSError) -> None:
        self.failure = error
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()
        self.discard()
