"""Presentation contexts: what santepacs takes as SCP (PS3.4 annexes A, B, C, F, J, K).

Of the transfer syntaxes in a context the caller's first that we know is taken: it knows best how
its objects are encoded, or how it wants them, and pynetdicom would go by our order instead.
"""

from collections.abc import Collection, Iterable
from functools import cache

from pydicom.uid import UID_dictionary
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom.presentation import PresentationContext

from santepacs.model.transfer_syntaxes import (
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
    STORAGE_TRANSFER_SYNTAXES,
)

VERIFICATION = "1.2.840.10008.1.1"
PATIENT_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.1.1"
PATIENT_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.1.2"
PATIENT_ROOT_GET = "1.2.840.10008.5.1.4.1.2.1.3"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
MODALITY_WORKLIST_FIND = "1.2.840.10008.5.1.4.31"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
PERFORMED_PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"

QUERY = (PATIENT_ROOT_FIND, STUDY_ROOT_FIND)
RETRIEVE = (PATIENT_ROOT_MOVE, PATIENT_ROOT_GET, STUDY_ROOT_MOVE, STUDY_ROOT_GET)
SERVICES = frozenset(
    (
        VERIFICATION,
        *QUERY,
        *RETRIEVE,
        MODALITY_WORKLIST_FIND,
        STORAGE_COMMITMENT,
        PERFORMED_PROCEDURE_STEP,
    )
)
"""Everything that is no storage."""
PATIENT_ROOT = (PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET)

NATIVE = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN)
# "... Storage" by name, yet nothing that belongs to a study: a directory, and the classes of the
# Non-Patient Object Storage Service Class (PS3.4 annex GG).
_OF_NO_STUDY = (
    "Media Storage Directory Storage",
    "Hanging Protocol Storage",
    "Color Palette Storage",
    "Generic Implant Template Storage",
    "Implant Assembly Template Storage",
    "Implant Template Group Storage",
    "CT Defined Procedure Protocol Storage",
    "XA Defined Procedure Protocol Storage",
    "Protocol Approval Storage",
    "Inventory Storage",
)


@cache
def storage_classes() -> frozenset[str]:
    """Every storage SOP class of the standard, retired ones too: old archives hold them."""
    current = {str(context.abstract_syntax) for context in AllStoragePresentationContexts}
    named = {
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class"
        and " Storage" in name
        and "Commitment" not in name
        and "Stored Print" not in name
    }
    of_no_study = {uid for uid, (name, *_) in UID_dictionary.items() if name in _OF_NO_STUDY}
    return frozenset((current | named) - of_no_study)


def is_storage(abstract_syntax: str | None, private: Collection[str]) -> bool:
    """Whether objects of this SOP class are stored; `private`: those that the site added."""
    if abstract_syntax in SERVICES:
        return False
    return abstract_syntax in storage_classes() or abstract_syntax in private


def supported(
    proposed: Iterable[PresentationContext],
    *,
    store: bool,
    query: bool,
    retrieve: bool,
    worklist: bool,
    commitment: bool = False,
    procedure: bool = False,
    private: Collection[str] = (),
) -> list[PresentationContext]:
    """The contexts for a caller with these permissions who proposes these; Verification always.

    `private`: further SOP classes whose objects are stored.
    """
    uids = [VERIFICATION]
    if query:
        uids += QUERY
    if worklist:
        uids.append(MODALITY_WORKLIST_FIND)
    if retrieve:
        uids += RETRIEVE
    if commitment:
        uids.append(STORAGE_COMMITMENT)
    if procedure:
        uids.append(PERFORMED_PROCEDURE_STEP)
    contexts = [_context(uid) for uid in uids]
    if store or retrieve:
        contexts += [
            # Without a syntax that we know, it is the syntax that is refused, not the class.
            _storage_context(uid, syntaxes or [EXPLICIT_LITTLE_ENDIAN])
            for uid, syntaxes in _preferences(proposed).items()
            if is_storage(uid, private)
        ]
    return contexts


def _preferences(proposed: Iterable[PresentationContext]) -> dict[str, list[str]]:
    """The transfer syntaxes of storage proposed for each abstract syntax, in the caller's order.

    Where several contexts name one abstract syntax, their orders are woven into one.
    """
    preferences: dict[str, list[str]] = {}
    for context in proposed:
        known = [str(uid) for uid in context.transfer_syntax if uid in STORAGE_TRANSFER_SYNTAXES]
        woven = preferences.setdefault(str(context.abstract_syntax), [])
        for position, syntax in enumerate(known):
            if syntax in woven:
                continue
            later = [woven.index(other) for other in known[position:] if other in woven]
            woven.insert(min(later, default=len(woven)), syntax)
    return preferences


# Only read by the negotiation, so associations share it.
@cache
def _context(uid: str) -> PresentationContext:
    return build_context(uid, list(NATIVE))


def _storage_context(uid: str, syntaxes: list[str]) -> PresentationContext:
    context = build_context(uid, syntaxes)
    # With C-GET the caller is the storage SCP: either role may be asked for.
    context.scu_role = context.scp_role = True
    return context


MAXIMUM_CONTEXTS = 128  # in one association: their IDs are the odd numbers of a byte


def to_send(kinds: Iterable[tuple[str, str]]) -> list[dict[str, list[PresentationContext]]]:
    """The contexts to propose for sending objects of these (SOP class, transfer syntax).

    One entry for each association that it takes: SOP class -> its contexts. Each syntax stands in
    a context of its own, so that the receiver cannot choose another than the object's; beside them
    the two little-endian ones that every receiver knows.
    """
    kept: dict[str, list[str]] = {}
    for sop_class, syntax in kinds:
        kept.setdefault(sop_class, []).append(syntax)
    associations: list[dict[str, list[PresentationContext]]] = []
    room = 0
    for sop_class, syntaxes in kept.items():
        wanted = dict.fromkeys((*syntaxes, EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN))
        if len(wanted) > room:
            associations.append({})
            room = MAXIMUM_CONTEXTS
        associations[-1][sop_class] = [build_context(sop_class, [syntax]) for syntax in wanted]
        room -= len(wanted)
    return associations
