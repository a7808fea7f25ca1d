"""The frame splitter: any split of the bytes gives the same frames, junk and floods are bounded."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from santepacs.wire.framing import (
    JUNK_LIMIT,
    ForeignProtocol,
    Frame,
    FrameSplitter,
    FramingError,
    Kind,
    mllp_block,
)

LIMIT = 100_000
ONE = b"MSH|^~\\&|A|B\rPID|1\r"
TWO = b"MSH|^~\\&|C|D\rPID|2\r"
FIRST = Frame(Kind.MLLP, ONE)
SECOND = Frame(Kind.MLLP, TWO)


def frames_of(*chunks, limit=LIMIT):
    """Frames of all chunks, asked for after each chunk."""
    splitter = FrameSplitter(limit)
    found = []
    for chunk in chunks:
        splitter.feed(chunk)
        while (frame := splitter.next_frame()) is not None:
            found.append(frame)
    return found


def byte_by_byte(data):
    return [data[i : i + 1] for i in range(len(data))]


STREAMS = {
    "one message": (mllp_block(ONE), [FIRST]),
    "two messages": (mllp_block(ONE) + mllp_block(TWO), [FIRST, SECOND]),
    "FS LF": (b"\x0b" + ONE + b"\x1c\n" + mllp_block(TWO), [FIRST, SECOND]),
    "FS CR LF": (b"\x0b" + ONE + b"\x1c\r\n" + mllp_block(TWO), [FIRST, SECOND]),
    "FS VT": (b"\x0b" + ONE + b"\x1c" + mllp_block(TWO), [FIRST, SECOND]),
    "NUL and spaces between": (mllp_block(ONE) + b"\0 \r\n" + mllp_block(TWO), [FIRST, SECOND]),
    "BOM before VT": (b"\xef\xbb\xbf" + mllp_block(ONE), [FIRST]),
    "doubled VT": (b"\x0b" + mllp_block(ONE), [FIRST]),
    "empty block": (b"\x0b\x1c\r" + mllp_block(ONE), [FIRST]),
    "stray end": (b"\x1c\r" + mllp_block(ONE), [FIRST]),
    "log line before": (b"[2026-01-01] sending\r\n" + mllp_block(ONE), [FIRST]),
    "no VT": (ONE + b"\x1c\r" + mllp_block(TWO), [FIRST, SECOND]),
    "log line, no VT": (b"sending:\n" + ONE + b"\x1c\r", [FIRST]),
    "BOM, no VT": (b"\xef\xbb\xbf" + ONE + b"\x1c\r", [FIRST]),
    "FS inside": (
        mllp_block(b"MSH|x\x1cy\r") + mllp_block(TWO),
        [Frame(Kind.MLLP, b"MSH|x\x1cy\r"), SECOND],
    ),
    "no FS but whole": (b"\x0b" + ONE + mllp_block(TWO), [FIRST, SECOND]),
    "cut by the next": (
        b"\x0bMSH|^~\\&|A\rPID|1|Do" + mllp_block(TWO),
        [Frame(Kind.BROKEN, b"MSH|^~\\&|A\rPID|1|Do"), SECOND],
    ),
    "VT as data": (mllp_block(b"MSH|a\x0bb\r"), [Frame(Kind.MLLP, b"MSH|a\x0bb\r")]),
    "token": (b"\x101.2.3\r", [Frame(Kind.TOKEN, b"1.2.3")]),
    "empty token": (b"\x10\r", [Frame(Kind.TOKEN, b"")]),
    "token then message": (b"\x10ID7\r" + mllp_block(ONE), [Frame(Kind.TOKEN, b"ID7"), FIRST]),
    "message then token": (mllp_block(ONE) + b"\x10ID7\r\n", [FIRST, Frame(Kind.TOKEN, b"ID7")]),
    "FS then token": (
        b"\x0b" + ONE + b"\x1c\x10ID7\r",
        [FIRST, Frame(Kind.TOKEN, b"ID7")],
    ),
    "token inside a message": (
        mllp_block(b"MSH|\x10ID7\rPID\r"),
        [Frame(Kind.MLLP, b"MSH|\x10ID7\rPID\r")],
    ),
    "tokens in one packet": (
        b"\x10A\r\x10B\r\x10C\r",
        [Frame(Kind.TOKEN, payload) for payload in (b"A", b"B", b"C")],
    ),
}


@pytest.mark.parametrize("stream, expected", STREAMS.values(), ids=STREAMS.keys())
def test_every_split_gives_the_same_frames(stream, expected):
    assert frames_of(stream) == expected
    assert frames_of(*byte_by_byte(stream)) == expected
    for position in range(len(stream) + 1):
        assert frames_of(stream[:position], stream[position:]) == expected


@given(st.lists(st.binary(max_size=40), max_size=12))
def test_any_bytes_give_frames_or_an_error(chunks):
    def outcome(pieces):
        found = []
        splitter = FrameSplitter(500)
        try:
            for piece in pieces:
                splitter.feed(piece)
                while (frame := splitter.next_frame()) is not None:
                    found.append(frame)
        except FramingError as error:
            return found, type(error)
        return found, None

    whole = outcome([b"".join(chunks)])
    assert outcome(byte_by_byte(b"".join(chunks))) == whole


def test_junk_holds_no_start_inside_a_line():
    assert frames_of(b"abMSH|1\x1c\r" + mllp_block(ONE)) == [FIRST]
    assert frames_of(*byte_by_byte(b"abMSH|1\x1c\r" + mllp_block(ONE))) == [FIRST]


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\n",
        b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\n" + mllp_block(ONE),
        b"OPTIONS * HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"brew / HTTP/1.1\r\n\r\n" + mllp_block(ONE),
        b"\r\nPOST / HTTP/1.1\r\n" + mllp_block(ONE),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_http_and_tls_are_foreign_before_any_frame(start):
    with pytest.raises(ForeignProtocol):
        frames_of(start)
    with pytest.raises(ForeignProtocol):
        frames_of(*byte_by_byte(start))


def test_words_of_http_after_the_first_frame_are_junk():
    assert frames_of(mllp_block(ONE) + b"GET / \r\n" + mllp_block(TWO)) == [FIRST, SECOND]


def test_endless_junk_is_an_error():
    splitter = FrameSplitter(LIMIT)
    with pytest.raises(FramingError):
        for _ in range(2 * JUNK_LIMIT // 1000):
            splitter.feed(b"x" * 1000)
            splitter.next_frame()
    assert splitter.received <= 2000


def test_skipped_bytes_are_counted():
    splitter = FrameSplitter(LIMIT)
    splitter.feed(b"noise" + mllp_block(ONE))
    splitter.next_frame()
    assert splitter.skipped == 5


def test_a_message_over_the_limit_is_an_error():
    assert frames_of(b"\x0b" + b"x" * 50 + b"\x1c\r", limit=50)
    with pytest.raises(FramingError):
        frames_of(b"\x0b" + b"x" * 51 + b"\x1c\r", limit=50)
    with pytest.raises(FramingError):
        frames_of(b"\x0b", b"x" * 51, limit=50)


def test_a_token_request_over_256_bytes_is_an_error():
    assert frames_of(b"\x10" + b"7" * 256 + b"\r") == [Frame(Kind.TOKEN, b"7" * 256)]
    for stream in (b"\x10" + b"7" * 257, b"\x10" + b"7" * 257 + b"\r", b"\x10" + b"7" * 10_000):
        with pytest.raises(FramingError):
            frames_of(stream)


@pytest.mark.parametrize("inside", [b"\x0bMSH|x", b"\x1c", b"\x10ID8"])
def test_another_delimiter_inside_a_token_request_is_an_error(inside):
    with pytest.raises(FramingError):
        frames_of(b"\x10ID7" + inside + b"\r")


def test_silence_completes_what_has_no_end():
    for stream in (b"\x0b" + ONE + b"\x1c", ONE, ONE + b"\x1c"):
        splitter = FrameSplitter(LIMIT)
        splitter.feed(stream)
        assert splitter.next_frame() is None
        assert splitter.settles
        assert splitter.settle() == FIRST
        assert splitter.pending is None


def test_silence_completes_no_begun_block():
    splitter = FrameSplitter(LIMIT)
    splitter.feed(b"\x0b" + ONE)
    assert splitter.next_frame() is None
    assert splitter.settle() is None
    assert splitter.pending is Kind.MLLP


@pytest.mark.parametrize(
    "rest, expected",
    [(ONE, FIRST), (ONE + b"\x1c", FIRST), (ONE[:-1], None), (b"", None), (b"PID|1\r", None)],
)
def test_end_of_stream_completes_a_block_after_its_last_segment(rest, expected):
    splitter = FrameSplitter(LIMIT)
    splitter.feed(b"\x0b" + rest)
    assert splitter.next_frame() is None
    assert splitter.finish() == expected


def test_what_is_pending_is_told():
    splitter = FrameSplitter(LIMIT)
    assert splitter.pending is None
    splitter.feed(b"\x10ID")
    assert splitter.next_frame() is None
    assert splitter.pending is Kind.TOKEN


def test_time_is_linear_byte_by_byte():
    def seconds(size):
        splitter = FrameSplitter(10 * size)
        splitter.feed(b"\x0b")
        began = time.process_time()
        for _ in range(size):
            splitter.feed(b"x")
            splitter.next_frame()
        return time.process_time() - began

    seconds(1_000)
    # Quadratic time would be 64 times as much.
    assert seconds(80_000) < 30 * seconds(10_000) + 0.1
