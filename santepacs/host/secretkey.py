"""The site's secret key, `<data>/secret.key`, from which every patient link is derived.

It is part of every backup and never replaced: with another key all links given out are dead.
"""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from santepacs.errors import Conflict, Forbidden, Malformed, NotFound, Unavailable
from santepacs.host.durable import sync_folder

KEY_BYTES = 64


def secret_key(path: Path) -> bytes:
    """The secret key of the data directory `path`.

    Raises NotFound (no file), Malformed (not a key) or Forbidden (others may read it).
    """
    file = path / "secret.key"
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
        with open(descriptor, "rb") as opened:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise Malformed(f"{file} is not a file")
            if mode & 0o077:
                raise Forbidden(f"others may read {file}: chmod 600 it")
            text = opened.read(4 * KEY_BYTES)
    except FileNotFoundError as error:
        raise NotFound(f"there is no {file}") from error
    except OSError as error:
        raise Unavailable(f"cannot read {file}: {error.strerror}") from error
    with contextlib.suppress(ValueError):
        key = bytes.fromhex(text.decode("ascii"))
        if len(key) == KEY_BYTES:
            return key
    raise Malformed(f"{file} is not a key of {2 * KEY_BYTES} hexadecimal digits")


def create_secret_key(path: Path) -> bytes:
    """Make the secret key of the data directory `path`, durably, complete or not at all.

    Raises Conflict when there is one.
    """
    file, unfinished = path / "secret.key", path / "secret.key.new"
    key = secrets.token_bytes(KEY_BYTES)
    try:
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as opened:
            opened.write(key.hex().encode() + b"\n")
            opened.flush()
            os.fsync(descriptor)
        os.link(unfinished, file)
        unfinished.unlink()
        sync_folder(path)
    except FileExistsError as error:
        unfinished.unlink(missing_ok=True)
        raise Conflict(f"there is a secret key already: {file}") from error
    except OSError as error:
        raise Unavailable(f"cannot write {file}: {error.strerror}") from error
    return key
