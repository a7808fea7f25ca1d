"""DICOM peers: who may associate, and what for (PS3.8; Sante S35-S38)."""

import re
from dataclasses import dataclass, replace

from santepacs.errors import Malformed

PERMISSIONS = ("store", "query", "retrieve", "worklist")
MAXIMUM_ADDRESSES = 32

# PS3.5 6.2 AE: leading and trailing spaces do not count, those inside do.
_AE_TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]{0,14}[\x21-\x5b\x5d-\x7e])?")
_HOST = re.compile(r"[A-Za-z0-9:]([A-Za-z0-9._:-]{0,251}[A-Za-z0-9:])?")
_FINGERPRINT = re.compile(r"([0-9a-f]{64})?")
TRANSLITERATED = "transliterated"
"""As a character set: Latin letters without accents, whatever the script."""
_CHARACTER_SET = re.compile(
    r"(ISO_IR [0-9]{1,3}|GB18030|GBK|(ISO_IR 13)?(\\?ISO 2022 IR [0-9]{1,3}){1,5})?"
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where an application can be reached: a host name or address, and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Peer:
    """A DICOM application that santepacs knows.

    A caller is this peer when its calling AE title is the one given here, and it comes from one of
    the addresses or shows the certificate. The permissions say what the peer may ask of santepacs;
    to store includes to have it committed.
    """

    ae_title: str
    host: str
    """With `port` where we call it."""
    port: int
    may_store: bool = True
    may_query: bool = True
    may_retrieve: bool = True
    may_worklist: bool = True
    enabled: bool = True
    other_addresses: tuple[Address, ...] = ()
    """Where it may call from as well, and where we call it when it does not answer at the first."""
    may_move_to_others: bool = False
    """Whether its C-MOVE may name another destination than itself."""
    tls: bool = False
    """Whether we call it with TLS."""
    certificate: str = ""
    """SHA-256 of its TLS certificate in hexadecimal digits, if that stands for its address."""
    worklist_charset: str = ""
    """Specific Character Set of its worklist answers, several terms joined by backslashes; empty:
    the smallest that suffices; `TRANSLITERATED`."""
    append_wildcard: bool = False
    """Whether a name without wildcards in its worklist queries is the beginning of one."""

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All of them, the one where we call it first."""
        return (Address(self.host, self.port), *self.other_addresses)


def is_ae_title(text: str) -> bool:
    """Whether `text`, without the spaces around it, can be an AE title."""
    return _AE_TITLE.fullmatch(text) is not None


def checked(peer: Peer) -> Peer:
    """`peer`, its AE title without spaces around it. Raises Malformed naming what is wrong."""
    ae_title = peer.ae_title.strip(" ")
    if not is_ae_title(ae_title):
        raise Malformed("an AE title is 1 to 16 characters of ASCII, without a backslash")
    if len(peer.addresses) > MAXIMUM_ADDRESSES:
        raise Malformed(f"a peer has at most {MAXIMUM_ADDRESSES} addresses")
    for address in peer.addresses:
        if not _HOST.fullmatch(address.host):
            raise Malformed("the host must be a host name or an address, without a port")
        if not 1 <= address.port <= 65535:
            raise Malformed("the port must be from 1 to 65535")
    if not _FINGERPRINT.fullmatch(peer.certificate):
        raise Malformed("a certificate's fingerprint is 64 hexadecimal digits, in lower case")
    charset = peer.worklist_charset
    if charset != TRANSLITERATED and not _CHARACTER_SET.fullmatch(charset):
        raise Malformed(
            "a character set is empty, transliterated, or terms of Specific Character Set such as"
            " ISO_IR 126, joined by backslashes"
        )
    return replace(peer, ae_title=ae_title)
