"""DICOM peers: who may associate, and what for (PS3.8; Sante S35-S38)."""

import re
from dataclasses import dataclass

from santepacs.errors import Malformed

PERMISSIONS = ("store", "query", "retrieve", "worklist")

_AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e]{1,16}")
_HOST = re.compile(r"[A-Za-z0-9:]([A-Za-z0-9._:-]{0,251}[A-Za-z0-9:])?")


@dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM application that santepacs knows.

    A caller is this peer when its calling AE title and its address are those given here; `host`
    is an address or a name. The permissions say what the peer may ask of santepacs.
    """

    ae_title: str
    host: str
    port: int
    may_store: bool = True
    may_query: bool = True
    may_retrieve: bool = True
    may_worklist: bool = True
    enabled: bool = True


def checked(peer: Peer) -> Peer:
    """`peer`, if it can exist. Raises Malformed naming what is wrong."""
    if not _AE_TITLE.fullmatch(peer.ae_title):
        raise Malformed(
            "an AE title is 1 to 16 characters of ASCII, without white space and backslash"
        )
    if not _HOST.fullmatch(peer.host):
        raise Malformed("the host must be a host name or an address, without a port")
    if not 1 <= peer.port <= 65535:
        raise Malformed("the port must be from 1 to 65535")
    return peer
