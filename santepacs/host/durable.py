"""Making files and folders survive a power cut (fsync(2)). Blocking."""

import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Wait until the file's content is on stable storage. Raises OSError when it cannot be."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Wait until the folder's names are on stable storage. Raises OSError when they cannot be."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
