"""Presentation contexts: what santepacs takes as SCP (PS3.4 annexes A, B, C, K).

Explicit VR Little Endian comes first, because pynetdicom chooses by our order: it says each VR,
and what comes in it can go out again unchanged to nearly everybody.
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
_STORED = (*NATIVE, *(uid for uid in STORAGE_TRANSFER_SYNTAXES if uid not in NATIVE))
# "... Storage" by name, yet nothing that a storage SCP keeps.
_NO_OBJECTS = ("Media Storage Directory Storage",)


@cache
def storage_classes() -> tuple[str, ...]:
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
    return tuple(sorted(current | named))


def supported(
    *, store: bool, query: bool, retrieve: bool, worklist: bool
) -> list[PresentationContext]:
    """The contexts for a caller with these permissions; Verification always."""
    contexts = [_context(VERIFICATION)]
    if query:
        contexts += [_context(uid) for uid in QUERY]
    if worklist:
        contexts.append(_context(MODALITY_WORKLIST_FIND))
    if retrieve:
        contexts += [_context(uid) for uid in RETRIEVE]
    if store or retrieve:
        # With C-GET the caller is the storage SCP: either role may be asked for.
        contexts += [_storage_context(uid) for uid in storage_classes()]
    return contexts


# Only read by the negotiation, so associations share them.
@cache
def _context(uid: str) -> PresentationContext:
    return build_context(uid, list(NATIVE))


@cache
def _storage_context(uid: str) -> PresentationContext:
    context = build_context(uid, list(_STORED))
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
