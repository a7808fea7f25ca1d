"""Messages of many senders, where they are at hand beside the checkout."""

from pathlib import Path

import pytest

from santepacs.wire.framing import FrameSplitter, Kind

CORPUS = Path(__file__).parents[3] / "shared" / "data" / "hl7"

needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the HL7 corpus is not beside the checkout"
)


def files():
    """The files that hold messages."""
    return [
        path for path in sorted(CORPUS.iterdir()) if path.suffix in (".hl7", ".er7", ".txt", ".bin")
    ]


def frames(path):
    """What a sender would put into frames: a file as it is, or the frames that are in it."""
    content = path.read_bytes()
    if path.suffix != ".bin":
        return [content]
    splitter = FrameSplitter(1 << 24)
    splitter.feed(content)
    found = []
    while (frame := splitter.next_frame()) is not None:
        found.append(frame)
    last = splitter.finish()
    return [frame.payload for frame in (*found, last) if frame and frame.kind is Kind.MLLP]
