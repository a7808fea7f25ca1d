"""Presentation contexts: what santepacs takes as SCP (PS3.4 annexes A, B, C, K).

Of the transfer syntaxes in a context the caller's first that we know is taken: it knows best how
its objects are encoded, or how it wants them, and pynetdicom would go by our order instead.
"""

from collections.abc import Iterable
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

QUERY = (PATIENT_ROOT_FIND, STUDY_ROOT_FIND)
RETRIEVE = (PATIENT_ROOT_MOVE, PATIENT_ROOT_GET, STUDY_ROOT_MOVE, STUDY_ROOT_GET)
PATIENT_ROOT = (PATIENT_ROOT_FIND, PATIENT_ROOT_MOVE, PATIENT_ROOT_GET)

NATIVE = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN)
# "... Storage" by name, yet nothing that a storage SCP keeps.
_NO_OBJECTS = ("Media Storage Directory Storage",)


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
        and name not in _NO_OBJECTS
    }
    return frozenset(current | named)


def supported(
    proposed: Iterable[PresentationContext],
    *,
    store: bool,
    query: bool,
    retrieve: bool,
    worklist: bool,
) -> list[PresentationContext]:
    """The contexts for a caller with these permissions who proposes these; Verification always."""
    contexts = [_context(VERIFICATION)]
    if query:
        contexts += [_context(uid) for uid in QUERY]
    if worklist:
        contexts.append(_context(MODALITY_WORKLIST_FIND))
    if retrieve:
        contexts += [_context(uid) for uid in RETRIEVE]
    if store or retrieve:
        contexts += [
            _storage_context(uid, syntaxes)
            for uid, syntaxes in _preferences(proposed).items()
            if uid in storage_classes() and syntaxes
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


MAXIMUM_CONTEXTS = 128


def to_send(kinds: Iterable[tuple[str, str]]) -> list[PresentationContext]:
    """The contexts to propose for sending objects of these (SOP class, transfer syntax).

    Each syntax stands in a context of its own, so that the receiver cannot choose another than
    the object's; beside them the two little-endian ones that every receiver knows. When that is
    too much, the uncompressed syntaxes of a class share a context; what is still too much is
    left out, the last kinds first.
    """
    kept: dict[str, list[str]] = {}
    for sop_class, syntax in kinds:
        kept.setdefault(sop_class, []).append(syntax)
    apart = [
        build_context(sop_class, [syntax])
        for sop_class, syntaxes in kept.items()
        for syntax in dict.fromkeys((*syntaxes, EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN))
    ]
    if len(apart) <= MAXIMUM_CONTEXTS:
        return apart
    shared = [
        build_context(sop_class, choice)
        for sop_class, syntaxes in kept.items()
        for choice in _grouped(syntaxes)
    ]
    return shared[:MAXIMUM_CONTEXTS]


def _grouped(syntaxes: list[str]) -> list[list[str]]:
    compressed = [[syntax] for syntax in syntaxes if syntax not in NATIVE]
    native = [syntax for syntax in syntaxes if syntax in NATIVE]
    common = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)
    return [*compressed, list(dict.fromkeys((*native, *common)))]
