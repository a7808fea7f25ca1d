"""DICOM over TLS (PS3.15 B.12: BCP 195): contexts made of the settings, and certificates compared.

TLS 1.2 and 1.3, forward secrecy and authenticated encryption alone, no compression, no
renegotiation. Reads files, so not for the reactor.
"""

import hashlib
import os
import ssl
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from cryptography.x509 import load_der_x509_certificate

from santepacs.errors import Malformed
from santepacs.settings import DicomSettings

_LONGEST_HELLO = 16 * 1024 + 5  # bytes of one TLS record (RFC 8446 5.1)
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of 1.3 all qualify."""

_WANTED = {
    "no": ssl.CERT_NONE,
    "if given": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}


# What OpenSSL says of a handshake that failed, by the beginning of its words.
_REASONS = (
    ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "it shows no certificate"),
    ("CERTIFICATE_REQUIRED", "it wants a certificate of ours"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate cannot be verified"),
    ("UNKNOWN_CA", "it does not know the authority of our certificate"),
    ("CERTIFICATE_EXPIRED", "it says that our certificate has expired"),
    ("CERTIFICATE_UNKNOWN", "it does not take our certificate"),
    ("BAD_CERTIFICATE", "it does not take our certificate"),
    ("UNSUPPORTED_CERTIFICATE", "it does not take our certificate"),
    ("UNSUPPORTED_PROTOCOL", "it knows no version of TLS that is safe"),
    ("ALERT_PROTOCOL_VERSION", "it knows no version of TLS that is safe"),
    ("NO_SHARED_CIPHER", "it knows no cipher that is safe"),
    ("HANDSHAKE_FAILURE", "it agrees to nothing that we offer"),
    ("HTTP_REQUEST", "it speaks HTTP"),
    ("WRONG_VERSION_NUMBER", "it does not speak TLS"),
    ("PACKET_LENGTH_TOO_LONG", "it does not speak TLS"),
    ("RECORD_LAYER_FAILURE", "it does not speak TLS"),
    ("UNEXPECTED_EOF", "it ends the connection; perhaps it does not speak TLS"),
    ("EOF occurred", "it ends the connection; perhaps it does not speak TLS"),
)

# X.509 verification errors (OpenSSL, x509_vfy.h).
_UNVERIFIED = {
    9: "is not valid yet",
    10: "has expired",
    18: "comes from no authority in dicom.tls_ca",
    19: "comes from no authority in dicom.tls_ca",
    20: "comes from no authority in dicom.tls_ca",
    21: "comes from no authority in dicom.tls_ca",
    26: "is not meant for this use",
    62: "names another host",
    64: "names another host",
}


def reason(problem: BaseException) -> str:
    """Why a TLS handshake failed, in words: of the error, or of the one that it was made of."""
    error = problem if isinstance(problem, OSError) else problem.__context__ or problem
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code:
        flaw = _UNVERIFIED.get(error.verify_code, f"is not valid ({error.verify_message})")
        return f"its certificate {flaw}"
    if isinstance(error, ConnectionError):
        return "it ends the connection; perhaps it does not speak TLS"
    said = f"{getattr(error, 'reason', None) or ''} {error}"
    return next((ours for words, ours in _REASONS if words in said), str(problem))


def hello_length(beginning: bytes) -> int:
    """How many bytes of the first TLS record must be there. Raises Malformed for no ClientHello."""
    if beginning[0] == 0x01:
        raise Malformed("it speaks DICOM without TLS, on the port for TLS")
    if beginning[0] != 0x16 or beginning[1:2] not in (b"", b"\x03"):
        raise Malformed("what it sends does not begin like TLS")
    if len(beginning) < 5:
        return 5
    length = 5 + int.from_bytes(beginning[3:5], "big")
    if length > _LONGEST_HELLO or beginning[5:6] not in (b"", b"\x01"):
        raise Malformed("what it sends does not begin like TLS")
    return length


def server_context(dicom: DicomSettings) -> ssl.SSLContext:
    """For connections made to us. Raises Malformed naming the setting that is wrong."""
    if not dicom.tls_certificate:
        raise Malformed("dicom.tls_certificate: the TLS port needs a certificate")
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_own_certificate(context, dicom)
    if dicom.tls_client_certificates != "no":
        if not dicom.tls_ca:
            raise Malformed(
                "dicom.tls_ca: checking clients' certificates needs the file of their authorities"
            )
        _load_authorities(context, dicom)
    context.verify_mode = _WANTED[dicom.tls_client_certificates]
    return context


def client_context(dicom: DicomSettings, *, pinned: bool) -> ssl.SSLContext:
    """For connections that we make. Raises Malformed naming the setting that is wrong.

    The peer's certificate must name its host and come from `dicom.tls_ca`, or from the system's
    authorities if that is empty. One that is `pinned` needs neither: look at `fingerprint`.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    if dicom.tls_certificate:
        _load_own_certificate(context, dicom)
    if pinned:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif dicom.tls_ca:
        _load_authorities(context, dicom)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


def fingerprint(certificate: bytes) -> str:
    """SHA-256 of a certificate in DER, as hexadecimal digits: how a peer's is kept."""
    return hashlib.sha256(certificate).hexdigest()


def read_certificate(path: str) -> bytes:
    """The first certificate of a PEM file, in DER. Raises Malformed."""
    try:
        text = Path(path).read_text("ascii", "replace")
        begin, end = text.index(ssl.PEM_HEADER), text.index(ssl.PEM_FOOTER)
        return ssl.PEM_cert_to_DER_cert(text[begin:end] + ssl.PEM_FOOTER + "\n")
    except OSError as error:
        raise Malformed(f"cannot read {path}: {error.strerror}") from None
    except ValueError:
        raise Malformed(f"{path} holds no certificate in PEM") from None


def expiry(certificate: bytes) -> datetime:
    """Until when a certificate in DER is valid. Raises Malformed."""
    try:
        return load_der_x509_certificate(certificate).not_valid_after_utc
    except ValueError:
        raise Malformed("the certificate cannot be read") from None


class ServerContext:
    """The server's context, made anew when its files have changed: certificates get renewed."""

    def __init__(self, dicom: Callable[[], DicomSettings]) -> None:
        """Raises Malformed naming the setting that is wrong."""
        self._dicom = dicom
        self._seen = self._look()
        self.current = server_context(dicom())
        """For new connections; the ones that there are keep theirs."""

    def renew(self) -> bool:
        """Look at the files; whether there is a new context.

        Raises Malformed, once, when the new files cannot be used; the old context stays.
        """
        seen = self._look()
        if seen == self._seen:
            return False
        self._seen = seen
        self.current = server_context(self._dicom())
        return True

    def _look(self) -> list[tuple[int, int, int] | None]:
        dicom = self._dicom()
        return [
            _state(path) for path in (dicom.tls_certificate, dicom.tls_private_key, dicom.tls_ca)
        ]


def _state(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # A certificate that is listed itself needs no authority above it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _load_own_certificate(context: ssl.SSLContext, dicom: DicomSettings) -> None:
    certificate, key = dicom.tls_certificate, dicom.tls_private_key or dicom.tls_certificate
    _check_readable("dicom.tls_certificate", certificate)
    _check_readable("dicom.tls_private_key", key)
    try:
        read_certificate(certificate)
        # Without the password OpenSSL would ask the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except Malformed as problem:
        raise Malformed(f"dicom.tls_certificate: {problem}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None)
        if reason == "KEY_VALUES_MISMATCH":
            raise Malformed(
                f"dicom.tls_private_key: {key} does not belong to the certificate {certificate}"
            ) from None
        raise Malformed(
            f"dicom.tls_private_key: {key} holds no private key in PEM without a password"
        ) from None


def _load_authorities(context: ssl.SSLContext, dicom: DicomSettings) -> None:
    _check_readable("dicom.tls_ca", dicom.tls_ca)
    try:
        context.load_verify_locations(dicom.tls_ca)
    except (OSError, ValueError):
        raise Malformed(f"dicom.tls_ca: {dicom.tls_ca} holds no certificate in PEM") from None


def _check_readable(setting: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise Malformed(f"{setting}: cannot read {path}: {error.strerror}") from None
