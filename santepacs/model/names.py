"""Text folded for search: the same letters in any case, with or without accents.

What is stored and what is asked for go through the same `fold`, so a search finds `Müller` by
`MULLER` and `Παπαδόπουλος` by `παπαδοπουλοσ` (PS3.4 C.2.2.2.1 leaves this to the SCP). Where fuzzy
matching of names was agreed, words are compared in any order, and by how they sound across Latin,
Greek and Cyrillic script (`words`, `asked_words`).
"""

import re
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
    if text.isascii():
        return " ".join(text.lower().split())
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


# --- names in any order and script ----------------------------------------------------------------

# Greek and Cyrillic letters (folded) in Latin ones.
_LATIN = {
    **dict(zip("αβγδεζηικλμνξοπρστυφω", "avgdeziiklmnxoprstyfo", strict=True)),
    **{"θ": "th", "χ": "ch", "ψ": "ps", "αυ": "av", "ευ": "ev"},
    **dict(zip("абвгдезиклмнопрстуфыэігђјћѕ", "abvgdeziklmnoprstufyeigdjcz", strict=True)),
    **{"ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ь": ""},
    **{"ю": "yu", "я": "ya", "є": "ye", "ґ": "g", "љ": "lj", "њ": "nj", "џ": "dz"},
}
# Spellings that stand for one sound somewhere in Europe.
_SOUNDS = {
    **dict.fromkeys(("schtsch", "shch", "sch", "sh"), "s"),
    **dict.fromkeys(("tsch", "ch", "kh"), "h"),
    **dict.fromkeys(("ou", "oy", "ue"), "u"),
    **dict.fromkeys(("ai", "ay", "ie", "ye", "je"), "e"),
    **dict.fromkeys(("ei", "ey", "oi"), "i"),
    **dict.fromkeys(("mp", "mb"), "b"),
    **dict.fromkeys(("nt", "nd"), "d"),
    **dict.fromkeys(("ng", "gk"), "g"),
    **dict.fromkeys(("c", "ck", "q", "qu"), "k"),
    **dict.fromkeys(("v", "w", "ph"), "f"),
    **dict.fromkeys(("y", "j"), "i"),
    **{"ae": "a", "oe": "o", "th": "t", "zh": "z", "tz": "ts", "ks": "x"},
    **{"gia": "ia", "gio": "io", "giu": "iu"},
}


def _pattern(table: dict[str, str]) -> re.Pattern[str]:
    return re.compile("|".join(sorted(table, key=len, reverse=True)))


_FOREIGN, _SPELLING = _pattern(_LATIN), _pattern(_SOUNDS)
_DOUBLED = re.compile(r"(.)\1+")
_BETWEEN_WORDS = re.compile(r"[\s!-)+-/:->@\[-`{-~’]+")  # all of ASCII but letters, digits, * and ?
_ASKED_WORD = re.compile(r"([^*?]+)(\*?)")
# A word that is cut after one of these may have been cut within a sound.
_UNFINISHED = tuple({spelling[0] for spelling in _SOUNDS if len(spelling) > 1})


def words(name: str) -> list[str]:
    """What a person's name can be found by in any order: its words folded, and their sounds."""
    folded = _words(name)
    return sorted({*folded, *map(_sound, map(_latin, folded))} - {""})


def asked_words(pattern: str) -> list[list[str]]:
    """For each word that a name has to have, how it may be written there: one of these.

    A ``*`` at the end stands for the rest of a word. Empty when words cannot say what `pattern`
    asks for, because it has other wildcards.
    """
    asked = [word for word in _words(pattern) if word != "*"]
    parts = [_ASKED_WORD.fullmatch(word) for word in asked]
    return [_spellings(*part.groups()) for part in parts if part] if all(parts) else []


def _words(text: str) -> list[str]:
    return [word for word in _BETWEEN_WORDS.split(fold(text)) if word]


def _spellings(word: str, rest: str) -> list[str]:
    latin = _latin(word)
    found = {word, _sound(latin)}
    if rest and len(latin) > 3 and latin.endswith(_UNFINISHED):
        found.add(_sound(latin[:-1]))
    return sorted(spelling + rest for spelling in found if spelling)


def _latin(word: str) -> str:
    return _FOREIGN.sub(lambda found: _LATIN[found[0]], word)


def _sound(word: str) -> str:
    """A word in Latin letters as it sounds, roughly: Papadopoulou and Papadopoyloy are the same."""
    return _DOUBLED.sub(r"\1", _SPELLING.sub(lambda found: _SOUNDS[found[0]], word))
