"""Text folded for search: the same letters in any case, with or without accents.

What is stored and what is asked for go through the same `fold`, so a search finds `Müller` by
`MULLER` and `Παπαδόπουλος` by `παπαδοπουλοσ` (PS3.4 C.2.2.2.1 leaves this to the SCP).
"""

import unicodedata

# Letters that Unicode does not take apart into a base letter and a mark.
_LETTERS = str.maketrans(
    {
        "ß": "ss",
        "ẞ": "ss",
        "æ": "ae",
        "œ": "oe",
        "ø": "o",
        "đ": "d",
        "ð": "d",
        "ħ": "h",
        "ı": "i",
        "ł": "l",
        "þ": "th",
        "ς": "σ",
    }
)


def fold(text: str) -> str:
    """`text` without regard to case, accents and width; runs of spaces become one."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    composed = unicodedata.normalize("NFC", bare.casefold().translate(_LETTERS))
    return " ".join(composed.split())


def fold_person_name(name: str) -> tuple[str, str, str]:
    """The folded alphabetic, ideographic and phonetic groups of a PN value (PS3.5 6.2.1).

    Empty trailing components are dropped, so that `DOE^JANE` equals `DOE^JANE^^^`.
    """
    groups = [fold_components(group) for group in name.split("=")[:3]]
    alphabetic, ideographic, phonetic = [*groups, "", "", ""][:3]
    return alphabetic, ideographic, phonetic


def fold_components(group: str) -> str:
    """One component group folded: components keep their `^`, trailing empty ones are dropped."""
    return "^".join(fold(component) for component in group.split("^")).rstrip("^")


def trigrams(text: str) -> list[str]:
    """The distinct runs of three characters of a folded text, for finding a part of it.

    Shorter text gives itself, so that it can still be found whole.
    """
    if len(text) < 3:
        return [text] if text else []
    return sorted({text[i : i + 3] for i in range(len(text) - 2)})
