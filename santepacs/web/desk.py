"""What the pages of HL7 tools need of the HL7 room (`santepacs.hl7.desk.Desk`).

A door does not import another door: the pages get this object, and its words are of `model/` and
`worklist/`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from santepacs.model.reading import Judgement, Preview, Reading
from santepacs.worklist.mapping import Mappings, Trace


class Desk(Protocol):
    """Looking at messages, trying and sending them."""

    @property
    def mappings(self) -> Mappings:
        """The field mappings in force."""

    @property
    def sample_names(self) -> tuple[str, ...]:
        """Messages to begin with."""

    def sample(self, name: str) -> str:
        """One of them, lines ending with LF. Raises Malformed when there is none."""

    def wire(self, text: str) -> bytes:
        """A typed message as bytes. Raises Malformed for what its character set has not."""

    def field_name(self, segment: str, number: int) -> str:
        """What a field is called; empty: it is not known."""

    async def read(self, raw: bytes, first: int = 1) -> Reading:
        """The message for people, from its `first` segment on."""

    async def whole_field(self, raw: bytes, index: int, number: int) -> str | None:
        """All of one field."""

    async def text(self, raw: bytes) -> tuple[str, str]:
        """All of it as text, and the codec that its MSH-18 asks for."""

    async def trace(self, raw: bytes, mappings: Mappings | None = None) -> list[list[Trace]]:
        """Where each value of each order comes from."""

    async def judge(self, raw: bytes, mappings: Mappings | None = None) -> Judgement:
        """What the message would be answered, and do, if it came now."""

    async def preview(
        self, messages: Sequence[tuple[int, bytes]], candidate: Mappings
    ) -> list[Preview]:
        """Which messages (key, raw) would be read otherwise than today."""

    async def compare(self, first: bytes, second: bytes, ignore: tuple[str, ...]) -> list[Any]:
        """`santepacs.hl7.compare.SegmentComparison` of each segment."""

    async def run_again(self, raw: bytes, origin: int, actor: str) -> int:
        """Let a kept or corrected message arrive anew; returns the key of its log entry."""

    async def send(self, host: str, port: int, raw: bytes) -> Any:
        """Send by MLLP; gives `santepacs.hl7.sender.Answer`. Raises Unavailable, Malformed."""

    async def knock(self, host: str, port: int) -> int:
        """Connect and hang up; gives milliseconds. Raises Unavailable, Malformed."""
