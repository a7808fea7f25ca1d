"""Sends what waits in the queue of outgoing messages (`santepacs.db.outgoing`).

A message is sent until its receiver has taken it (AA), says that it must be mended (AE, or AR for
a type that it does not process), answers nonsense, or a limit is reached. Until then those behind
it wait, because a cancellation must not overtake its order. A message may arrive twice: when its
answer is lost, or the server dies before it is written down.
"""

import math
from typing import Any

from twisted.logger import Logger

from santepacs.db import nodes, outgoing
from santepacs.db.database import Database, Transaction
from santepacs.db.nodes import Node
from santepacs.db.outgoing import KIND, Due
from santepacs.destinations import for_hl7
from santepacs.errors import Malformed, Unavailable
from santepacs.hl7.sender import Answer, UnusableAnswer, send
from santepacs.job import Job, Retries
from santepacs.jobs import Queue
from santepacs.logs import one_line
from santepacs.settings import Settings

log = Logger()

NODES_AT_ONCE = 8
RETRIES = Retries(maximum_attempts=10**9, maximum_age=math.inf)
"""A job is never given up, its messages are."""
MAXIMUM_AGE = 7 * 86400.0  # seconds that a message is tried
MAXIMUM_REFUSALS = 12  # attempts of a message that is answered AR, about seven hours


class Outbox:
    """Handles the jobs of `KIND`, one for each node."""

    def __init__(self, reactor: Any, database: Database, settings: Settings) -> None:
        self._reactor = reactor
        self._database = database
        self._settings = settings

    async def start(self, queue: Queue, retries: Retries = RETRIES) -> None:
        """Have the queue do our jobs; before it starts. Raises Unavailable."""
        queue.handle(KIND, self.handle, at_once=NODES_AT_ONCE, retries=retries)
        await self._database.transaction("outgoing HL7 messages", outgoing.revive)

    async def handle(self, job: Job) -> None:
        """Send what waits for a node. Raises Unavailable when the rest must wait."""
        name = job.payload["node"]
        while True:
            job.check()
            due = await self._next(name)
            if due is None:
                return
            await self._deliver(name, due)

    async def _next(self, name: str) -> Due | None:
        async def work(tx: Transaction) -> Due | None:
            return await outgoing.begin(tx, name)

        return await self._database.transaction("next HL7 message", work)

    async def _deliver(self, name: str, due: Due) -> None:
        """One attempt. Raises Unavailable when it shall be made again later."""
        try:
            node = await self._node(name)
            answer = await send(
                self._reactor,
                node.host,
                node.port,
                due.raw,
                self._settings.hl7.send_timeout,
                for_hl7(self._settings),
            )
        except Unavailable as problem:
            await self._try_again(name, due, Answer("", str(problem), b""))
        except UnusableAnswer as problem:
            await self._note(due, "failed", Answer("", str(problem), problem.raw))
        except Malformed as problem:
            await self._note(due, "failed", Answer("", str(problem), b""))
        else:
            await self._answered(name, due, answer)

    async def _answered(self, name: str, due: Due, answer: Answer) -> None:
        log.info(
            "HL7 message {id} to {node}: {code}", id=due.id, node=one_line(name), code=answer.code
        )
        if answer.accepted or not answer.is_passing:
            await self._note(due, "sent" if answer.accepted else "failed", answer)
        else:
            await self._try_again(name, due, answer, due.attempts >= MAXIMUM_REFUSALS)

    async def _try_again(self, name: str, due: Due, answer: Answer, over: bool = False) -> None:
        """Raises Unavailable, unless this was the last attempt."""
        over = over or due.age >= MAXIMUM_AGE
        await self._note(due, "failed" if over else "waiting", answer)
        reason = f"the receiver answers {answer.code}" if answer.code else answer.text
        if not over:
            raise Unavailable(reason)
        log.warn(
            "HL7 message {id} to {node} is given up after {count} attempts: {reason}",
            id=due.id,
            node=one_line(name),
            count=due.attempts,
            reason=reason,
        )

    async def _node(self, name: str) -> Node:
        """Where to send. Raises Malformed when the node can receive nothing any more."""

        async def work(tx: Transaction) -> Node | None:
            return await nodes.find(tx, name)

        node = await self._database.transaction("find HL7 node", work, read_only=True)
        if node is None:
            raise Malformed("there is no HL7 node of this name any more")
        if not node.port:
            raise Malformed("this HL7 node receives no messages any more: it has no port")
        if not node.enabled:
            raise Unavailable("this HL7 node is switched off")
        return node

    async def _note(self, due: Due, state: str, answer: Answer) -> None:
        async def work(tx: Transaction) -> None:
            await outgoing.note(
                tx,
                due.id,
                state,
                answer=answer.raw,
                code=answer.code,
                remark=answer.text,
                milliseconds=answer.milliseconds,
            )

        await self._database.transaction("note HL7 attempt", work)
