"""What a stored object can be turned into, and which of it is best (PS3.5 annex A, PS3.6 A-1)."""

from collections.abc import Collection

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from santepacs.model.transfer_syntaxes import (
    EXPLICIT_BIG_ENDIAN,
    EXPLICIT_LITTLE_ENDIAN,
    IMPLICIT_LITTLE_ENDIAN,
)

NATIVE = (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN, EXPLICIT_BIG_ENDIAN)
"""The uncompressed syntaxes, best first."""

JPEG: tuple[str, ...] = (JPEGBaseline8Bit, JPEGExtended12Bit)
JPEG_LS: tuple[str, ...] = (JPEGLSLossless, JPEGLSNearLossless)
JPEG_2000: tuple[str, ...] = (JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2KLosslessRPCL, HTJ2K)

DECODABLE: frozenset[str] = frozenset(
    (*JPEG, JPEGLossless, JPEGLosslessSV1, *JPEG_LS, *JPEG_2000, RLELossless)
)
LOSSLESS: tuple[str, ...] = (JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless)
"""The compressed syntaxes that can be made, most widely known first."""

_SAME_FAMILY: dict[str, str] = {
    JPEGLossless: JPEGLosslessSV1,
    JPEGLSNearLossless: JPEGLSLossless,
    **dict.fromkeys(JPEG_2000, JPEG2000Lossless),
}

LOSSY_METHODS: dict[str, bytes] = {
    **dict.fromkeys(JPEG, b"ISO_10918_1"),
    JPEGLSNearLossless: b"ISO_14495_1",
    JPEG2000: b"ISO_15444_1",
    HTJ2K: b"ISO_15444_15",
}
"""The syntaxes that may hold pixels compressed with loss, and their names in (0028,2114)."""


def preferred(own: str, accepted: Collection[str]) -> list[str]:
    """Those of `accepted` that an object in the syntax `own` may be turned into, best first.

    Its own is the best. Next comes the lossless syntax of the same family, then the uncompressed
    ones, then any lossless one; nothing that loses. Whether the pixels allow it is another matter.
    """
    ways = [own]
    if own in NATIVE:
        ways += [*NATIVE, *LOSSLESS]
    elif own in DECODABLE:
        ways += [_SAME_FAMILY.get(own, own), *NATIVE, *LOSSLESS]
    return [syntax for syntax in dict.fromkeys(ways) if syntax in accepted]
