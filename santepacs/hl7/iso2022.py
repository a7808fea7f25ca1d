"""ISO 2022: text whose character sets are switched by escape sequences.

HL7 has it twice: as bytes on the wire, where MSH-18 names several sets, and as ``\\C..\\`` and
``\\M..\\`` within a text (ch. 2.7.2), which give the same sequences in hexadecimal, without ESC.
"""

import re

# Sets of one byte a character. A designation for G0 has its characters at 21 to 7E.
_SINGLE = {
    b"(B": "ascii", b"(J": "ascii", b"-A": "iso8859-1", b"-B": "iso8859-2", b"-C": "iso8859-3",
    b"-D": "iso8859-4", b"-L": "iso8859-5", b"-G": "iso8859-6", b"-F": "iso8859-7",
    b"-H": "iso8859-8", b"-M": "iso8859-9", b"-b": "iso8859-15", b"-T": "cp874",
    b"(I": "shift_jis", b")I": "shift_jis",
}  # fmt: skip
# Sets of two bytes, as the codec that has their characters at A1A1 to FEFE.
_DOUBLE = {
    b"$@": "euc_jp", b"$B": "euc_jp", b"$(D": "euc_jp", b"$A": "gb2312", b"$(A": "gb2312",
    b"$)A": "gb2312", b"$(C": "euc_kr", b"$)C": "euc_kr",
}  # fmt: skip
_DESIGNATION = re.compile(rb"\x1b(\$[@AB]|\$[()][ACD]|[()][BJI]|-[A-MTb])")
_HALVES = re.compile(rb"[\x00-\x7f]+|[\x80-\xff]+")
_PAIR = re.compile(rb"[\x80-\xff]{2}")
_RAISED = bytes(byte | 0x80 if 0x21 <= byte <= 0x7E else byte for byte in range(256))


def is_switched(raw: bytes) -> bool:
    """Whether there is a sequence that designates a known set."""
    return _DESIGNATION.search(raw) is not None


def is_known(sequence: bytes) -> bool:
    """Whether the sequence (without ESC) designates a known set."""
    return sequence in _SINGLE or sequence in _DOUBLE


def decode(raw: bytes, codec: str) -> str:
    """Text that begins, in every line, as ASCII and `codec`. Raises UnicodeDecodeError."""
    return "".join(_line(line, codec) for line in re.split(rb"(?<=[\r\n])", raw))


def in_set(raw: bytes, sequence: bytes, errors: str = "strict") -> str:
    """`raw` in the set that the known `sequence` (without ESC) designates.

    Raises UnicodeDecodeError unless `errors` says otherwise.
    """
    codec = _SINGLE.get(sequence) or _DOUBLE[sequence]
    if sequence == b"(I" or sequence in _DOUBLE:
        raw = raw.translate(_RAISED)
    if sequence == b"$(D":
        raw = _PAIR.sub(b"\x8f\\g<0>", raw)
    return raw.decode(codec, errors)


def _line(line: bytes, codec: str) -> str:
    runs = _DESIGNATION.split(line)
    if len(runs) == 1:
        return line.decode(codec)
    pieces = [runs[0].decode(codec)]
    low, high = b"(B", b""
    for sequence, run in zip(runs[1::2], runs[2::2], strict=True):
        if sequence.startswith((b"-", b")", b"$)")):
            high = sequence
        else:
            low = sequence
        for half in _HALVES.findall(run):
            chosen = low if half[0] < 0x80 else high
            pieces.append(in_set(half, chosen) if chosen else half.decode(codec))
    return "".join(pieces)
