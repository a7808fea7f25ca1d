"""The encoding characters of one message (HL7 v2 ch. 2.5.4): MSH-1 and MSH-2."""

from dataclasses import dataclass

from santepacs.hl7.refusal import Refusal


@dataclass(frozen=True, slots=True)
class Delimiters:
    """What separates, repeats and escapes; `truncation` is empty before HL7 2.7."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"
    truncation: str = ""

    @property
    def encoding_characters(self) -> str:
        """MSH-2."""
        return self.component + self.repetition + self.escape + self.subcomponent + self.truncation


def read_delimiters(header: str) -> Delimiters:
    """The delimiters that an MSH segment declares; what it leaves out is as usual.

    Tolerated, because senders do it: a missing escape character (``^~&``), a doubled one
    (``^~\\\\&``), a truncation character, fewer than four. Raises Refusal when what is there
    cannot delimit.
    """
    separator = header[3:4]
    if not _delimits(separator):
        raise Refusal("101", "MSH^1^1", "no field separator")
    characters = header[4:].split(separator, 1)[0].strip().replace("\\\\", "\\")
    if characters[2:] == "&":
        characters = characters[:2] + "\\&"
    usual = Delimiters(separator)
    characters += usual.encoding_characters[len(characters) :]
    if (
        len(characters) > 5
        or len({separator, *characters}) != len(characters) + 1
        or not all(map(_delimits, characters))
    ):
        raise Refusal("102", "MSH^1^2", "the encoding characters cannot delimit")
    component, repetition, escape, subcomponent, *truncation = list(characters)
    if escape == "_" and "\\" not in separator + characters and "\\" in header:
        escape = "\\"
    return Delimiters(separator, component, repetition, escape, subcomponent, "".join(truncation))


def _delimits(character: str) -> bool:
    return (
        character.isascii()
        and character.isprintable()
        and not character.isalnum()
        and (character not in ("", " "))
    )
