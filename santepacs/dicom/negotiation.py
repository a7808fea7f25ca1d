"""What an association agrees on: which contexts, and which options of queries (PS3.7 annex D).

In the association's own thread. The gate has admitted the caller before; over TLS that is done
here, because only now there is a request to read.
"""

from collections.abc import Callable
from typing import Any

from pynetdicom import evt
from twisted.logger import Logger

from santepacs.dicom import associate, contexts, tls
from santepacs.dicom.admission import Admission
from santepacs.dicom.associations import Associations
from santepacs.dicom.proposal import (
    CONGESTED,
    AssociationRequest,
    Refusal,
)
from santepacs.dicom.resources import Resources
from santepacs.dicom.session import COMBINED, FUZZY, RELATIONAL
from santepacs.dicom.unaccepted import Unaccepted
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import Unavailable
from santepacs.logs import fault

log = Logger()

OF_QUERY = (RELATIONAL, COMBINED, FUZZY)
"""Bytes of a query's extended negotiation that may be agreed to."""


class Negotiation:
    """Answers what callers propose."""

    def __init__(
        self, resources: Resources, admission: Admission, associations: Associations
    ) -> None:
        self._resources = resources
        self._admission = admission
        self._associations = associations
        self._unaccepted = Unaccepted()

    def handlers(self) -> list[tuple[Any, Callable[[Any], Any]]]:
        """pynetdicom's events, and who answers them."""
        return [(evt.EVT_REQUESTED, self._requested), (evt.EVT_SOP_EXTENDED, self._agree)]

    def _requested(self, event: Any) -> None:
        """Say which contexts are acceptable; until then none is."""
        association: UpperAssociation = event.assoc
        try:
            refusal = self._decide(association)
        except Unavailable:
            refusal = CONGESTED
        except Exception as error:  # noqa: BLE001 - pynetdicom would go on and accept
            log.error("an association could not be decided: {fault}", fault=fault(error))
            refusal = CONGESTED
        if refusal is not None:
            associate.reject(association, *refusal)

    def _decide(self, association: UpperAssociation) -> Refusal | None:
        proposal: Any = association.requestor.primitive
        request = association.proposal
        if request is None:
            return CONGESTED
        if not self._associations.is_admitted(association):
            refusal: Refusal | None = self._resources.threads.ask(self._admit, association, request)
            if refusal is not None:
                return refusal
        caller = self._associations.session(association).caller
        association.acceptor.supported_contexts = contexts.supported(
            proposal.presentation_context_definition_list,
            store=caller.may_store,
            query=caller.may_query,
            retrieve=caller.may_retrieve,
            worklist=caller.may_worklist,
            commitment=caller.may_store and self._resources.jobs is not None,
            procedure=(caller.may_store or caller.may_worklist)
            and self._resources.progress is not None,
            private=self._resources.settings.dicom.private_sop_classes,
        )
        if not caller.reason:
            self._unaccepted.tell(caller, request.contexts, association.acceptor.supported_contexts)
        return None

    async def _admit(
        self, association: UpperAssociation, request: AssociationRequest
    ) -> Refusal | None:
        where: Any = association.requestor.address_info
        shown = association.peer_certificate
        certificate = None if shown is None else tls.fingerprint(shown)
        answer = await self._admission.decide(request, where.address, certificate)
        if isinstance(answer, Refusal):
            return answer
        self._associations.admit(association, answer)
        return None

    def _agree(self, event: Any) -> dict[str, bytes]:
        """Agree to the options that there are for queries and retrieval (PS3.4 C.5.1.1)."""
        session = self._associations.session(event.assoc)
        for uid, asked in event.app_info.items():
            if uid in (*contexts.QUERY, *contexts.RETRIEVE):
                agreed = bytearray(len(asked))
                for position in OF_QUERY if uid in contexts.QUERY else (RELATIONAL,):
                    agreed[position : position + 1] = asked[position : position + 1]
                session.negotiated[str(uid)] = bytes(agreed)
        return session.negotiated
