"""Data sets of C-STORE as they arrive: in memory first, then in ``incoming``, never left there."""

import errno
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from santepacs.errors import Unavailable

LARGEST_OBJECT = 4 * 1024**3  # bytes
IN_MEMORY = 1024 * 1024  # bytes that an object may have before it goes to a file


class Spool:
    """A Part 10 file in the making: its header, then the data set fragment by fragment.

    Without a folder nothing is kept: its sender may not store. A disk that is full is remembered,
    for the answer, and the rest is dropped.
    """

    def __init__(
        self, folder: Path | None, header: bytes, check_space: Callable[[], None] | None = None
    ) -> None:
        """`check_space` is asked before anything is written; by raising Unavailable it says no."""
        self.failure: OSError | None = None
        self._folder = folder
        self._check_space = check_space
        self._data = bytearray(header)
        self._size = 0
        self._path: Path | None = None
        self._file: BinaryIO | None = None

    def write(self, fragment: bytes | memoryview) -> None:
        """Take a fragment. Raises ValueError beyond the largest object."""
        self._size += len(fragment)
        if self._size > LARGEST_OBJECT:
            raise ValueError("the data set is too large")
        if self._folder is None or self.failure is not None:
            return
        self._data += fragment
        if len(self._data) > IN_MEMORY:
            self._write_out()

    def finish(self) -> Path | bytearray:
        """The complete Part 10 file: its bytes, or where it lies if it was too large for that.

        Raises OSError when it could not be written.
        """
        if self._path is not None:
            self._write_out()
            self._close()
        if self.failure is not None:
            raise self.failure
        return self._path or self._data

    def discard(self) -> None:
        """Forget it all, wherever it got to."""
        self._data = bytearray()
        self._close()
        if self._path is not None:
            with suppress(OSError):  # what cannot be removed now is swept at the next start
                self._path.unlink(missing_ok=True)

    def _write_out(self) -> None:
        try:
            if self._check_space is not None:
                self._check_space()
            if self._file is None and self._folder is not None:
                path = self._folder / f"{uuid.uuid4().hex}.part"
                self._file = open(path, "xb", buffering=0)  # noqa: SIM115
                self._path = path
            if self._file is not None:
                with memoryview(self._data) as left:
                    written = 0
                    while written < len(left):
                        written += self._file.write(left[written:]) or 0
            self._data = bytearray()
        except Unavailable:
            self._fail(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.failure = error
        self.discard()

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()
