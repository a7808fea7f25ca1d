"""The portal's worklist, for who is logged in; every page must show what was looked for."""

import http.client
import re
import time
from urllib.parse import urlencode

from bench import ours
from bench.targets import HOST, Target
from bench.trial import ANY, LeftOut, Operation, Result, Trial

TIMEOUT = 60  # seconds
PAGES = 50


def worklist_pages(trial: Trial) -> Result:
    """The newest records, a patient's, and those of a surname, in turn."""
    target = trial.target
    if target.data != "worklist":
        raise LeftOut("no large worklist")
    if not trial.loaded.orders:
        raise LeftOut("not prepared")
    # Needs psycopg2, which nothing else here does.
    from bench import fill_worklist as filled

    steps = filled.open_steps(trial.loaded.orders)
    chosen = [steps[choice % len(steps)] for choice in trial.choices(trial.amount(PAGES))]
    cookie = _log_in(target)
    latencies, size = [], 0
    with trial.watched():
        begin = time.perf_counter()
        for number, step in enumerate(chosen):
            asked = ("", filled.patient_id(step), filled.surname(step))[number % 3]
            start = time.perf_counter()
            body = _get(target, "/worklist?" + urlencode({"q": asked}), cookie)
            latencies.append(time.perf_counter() - start)
            size += len(body)
            if asked.lower().encode() not in body.lower().partition(b"<tbody>")[2]:
                raise RuntimeError(f"the list does not show {asked}")
        wall = time.perf_counter() - begin
    return Result(len(chosen), wall, size, latencies)


def _log_in(target: Target) -> str:
    """The cookies of the user that `bench up` has made."""
    answer = _ask(target, "GET", "/login")
    proof = re.search(rb'name="proof" value="([^"]+)"', answer.read())
    if proof is None:
        raise RuntimeError("the log-in page has no form")
    fields = {"username": ours.USER, "password": ours.PASSWORD, "proof": proof[1].decode()}
    answer = _ask(target, "POST", "/login", urlencode(fields), _cookies(answer))
    if answer.status != http.client.SEE_OTHER:
        raise RuntimeError(f"log-in: status {answer.status}")
    return _cookies(answer)


def _get(target: Target, path: str, cookie: str) -> bytes:
    answer = _ask(target, "GET", path, cookie=cookie)
    if answer.status != http.client.OK:
        raise RuntimeError(f"{path}: status {answer.status}")
    return answer.read()


def _ask(
    target: Target, method: str, path: str, body: str | None = None, cookie: str = ""
) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(HOST, target.http_port, timeout=TIMEOUT)
    headers = {"Cookie": cookie, "Connection": "close"}
    if body is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request(method, path, body, headers)
    return connection.getresponse()


def _cookies(answer: http.client.HTTPResponse) -> str:
    given = answer.headers.get_all("Set-Cookie") or []
    return "; ".join(line.partition(";")[0] for line in given)


OPERATIONS = (
    Operation("worklist_pages", "large worklist: pages of the portal's list", worklist_pages, ANY),
)
