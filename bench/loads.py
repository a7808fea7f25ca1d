"""Loads made with the raw client: every query an association of its own, clients in processes."""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

from bench.dimse import STUDY_ROOT_FIND, VERIFICATION, Association

DEADLINE = 500  # seconds for a whole load


@dataclass(frozen=True, slots=True)
class Peer:
    """How a client reaches a server."""

    address: tuple[str, int]
    titles: tuple[str, str]
    nodelay: bool


@dataclass(frozen=True, slots=True)
class Load:
    """What a client did: the seconds that each operation took, and what came back in all."""

    latencies: list[float]
    answers: int


def echo(peer: Peer, count: int) -> Load:
    """Associate, verify, release; `count` times."""
    latencies = []
    for _ in range(count):
        start = time.perf_counter()
        association = Association(peer.address, peer.titles, VERIFICATION, peer.nodelay)
        status = association.echo()
        association.release()
        latencies.append(time.perf_counter() - start)
        if status:
            raise RuntimeError(f"C-ECHO: status {status:04X}")
    return Load(latencies, count)


def find(
    peer: Peer, identifiers: Sequence[bytes], expected: int | None, abstract: str = STUDY_ROOT_FIND
) -> Load:
    """Associate, query, release for each identifier; each must have `expected` matches, if any."""
    latencies, answers = [], 0
    for identifier in identifiers:
        start = time.perf_counter()
        association = Association(peer.address, peer.titles, abstract, peer.nodelay)
        status, matches = association.find(identifier)
        association.release()
        latencies.append(time.perf_counter() - start)
        if status or (expected is not None and matches != expected):
            raise RuntimeError(f"C-FIND: status {status:04X}, {matches} of {expected} matches")
        answers += matches
    return Load(latencies, answers)


def together(clients: Sequence[Callable[[], Load]]) -> tuple[float, Load]:
    """Run each client in a process, all at once; returns wall seconds and what they did in sum."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(clients) + 1)
    results: Queue[Load | str] = context.Queue()
    processes = [context.Process(target=_client, args=(c, barrier, results)) for c in clients]
    for process in processes:
        process.start()
    barrier.wait(DEADLINE)
    start = time.perf_counter()
    done = [results.get(timeout=DEADLINE) for _ in processes]
    wall = time.perf_counter() - start
    for process in processes:
        process.join()
    loads = [load for load in done if isinstance(load, Load)]
    failures = [failure for failure in done if isinstance(failure, str)]
    if failures:
        raise RuntimeError(failures[0])
    latencies = [latency for load in loads for latency in load.latencies]
    return wall, Load(latencies, sum(load.answers for load in loads))


def _client(client: Callable[[], Load], barrier: Barrier, results: "Queue[Load | str]") -> None:
    barrier.wait(DEADLINE)
    try:
        results.put(client())
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent reports it
        results.put(f"{type(error).__name__}: {error}")
