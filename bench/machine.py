"""What this machine can do at most: files written durably, and bytes over the loopback."""

import os
import shutil
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

REPETITIONS = 3
_CHUNK = 1 << 20


def limits(folder: Path) -> Iterator[str]:
    """Lines of what was measured with files in `folder`."""
    folder = folder / f"machine.{os.getpid()}"
    for size, count in ((16_000, 600), (526_000, 300)):
        for threads in (1, 4):
            for how in ("not synced", "fdatasync", "fdatasync, rename, fsync of the folder"):
                walls = [_write(folder, size, count, threads, how) for _ in range(REPETITIONS)]
                rate = count / statistics.median(walls)
                yield (
                    f"{size // 1000:4d} kB, {threads} thread(s), {how:40s}"
                    f"{rate:7.0f} files/s {rate * size / 1e6:7.0f} MB/s"
                )
    rate = statistics.median(_loopback(1 << 30) for _ in range(REPETITIONS))
    yield f"loopback: {rate / 1e6:.0f} MB/s"


def _write(folder: Path, size: int, count: int, threads: int, how: str) -> float:
    """Write `count` files of `size` bytes; wall seconds."""
    folder.mkdir(parents=True)
    data = os.urandom(size)
    folder_fd = os.open(folder, os.O_RDONLY)

    def work(first: int) -> None:
        for number in range(first, count, threads):
            path = folder / f"{number:06d}"
            with open(path, "xb", buffering=0) as file:
                file.write(data)
                if how != "not synced":
                    os.fdatasync(file.fileno())
            if "rename" in how:
                path.rename(path.with_suffix(".dcm"))
                os.fsync(folder_fd)

    workers = [threading.Thread(target=work, args=(first,)) for first in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    wall = time.perf_counter() - start
    os.close(folder_fd)
    shutil.rmtree(folder)
    return wall


def _loopback(total: int) -> float:
    """Bytes a second through one connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        pid = os.fork()
        if pid == 0:
            with socket.create_connection(server.getsockname()) as connection:
                data = bytes(_CHUNK)
                for _ in range(total // _CHUNK):
                    connection.sendall(data)
            os._exit(0)
        connection, _ = server.accept()
    buffer, start = bytearray(_CHUNK), time.perf_counter()
    with connection:
        while connection.recv_into(buffer):
            pass
    wall = time.perf_counter() - start
    os.waitpid(pid, 0)
    return total / wall
