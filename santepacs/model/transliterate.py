"""Text of any script in Latin letters without accents, for modalities that can show nothing else.

The result is ASCII and the same at every time: legible, and enough to tell patients apart, but not
to be turned back. Greek and Cyrillic are written as on road signs and in passports; Hebrew and
Arabic by their letters, for vowels are not written; kana and Hangul by their sounds; a Chinese
character, which has no sound of its own, by its number.
"""

import unicodedata
from collections.abc import Callable

Fits = Callable[[str], bool]
"""Whether a text can be left as it is."""

_LATIN = {
    **{"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ı": "i"},
    **{"ł": "l", "þ": "th", "ŋ": "ng", "ĸ": "k", "ſ": "s", "ə": "a", "ŧ": "t", "ʼ": "'"},
}
_GREEK = {
    **dict(zip("αβγδεζηικλμνξοπρσςτυφω", "avgdeziiklmnxoprsstyfo", strict=True)),
    **{"θ": "th", "χ": "ch", "ψ": "ps", "ου": "ou", "γγ": "ng", "γξ": "nx", "γχ": "nch"},
}
_SPOKEN_WITH_V = {"α": "a", "ε": "e", "η": "i"}  # before υ
_VOICELESS = frozenset("θκξπσςτφχψ")
_CYRILLIC = {
    **dict(zip("абвгдезийклмнопрстуфыэ", "abvgdeziyklmnoprstufye", strict=True)),
    **{"ё": "e", "ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": ""},
    **{"ь": "", "ю": "yu", "я": "ya", "є": "ye", "і": "i", "ї": "yi", "ґ": "g", "ў": "u"},
    **{"ђ": "dj", "ј": "j", "љ": "lj", "њ": "nj", "ћ": "c", "џ": "dz", "ѓ": "gj", "ќ": "kj"},
    **{"ѕ": "dz", "ә": "a", "ғ": "g", "қ": "q", "ң": "n", "ө": "o", "ұ": "u", "ү": "u", "һ": "h"},
}
_HEBREW_LETTERS = "a b g d h v z ch t y k k l m m n n s a p f ts ts k r sh t"
_HEBREW = dict(
    zip(
        "אבגדהוזחטיכךלמםנןסעפףצץקרשת",
        _HEBREW_LETTERS.split(),
        strict=True,
    )
)
_ARABIC_LETTERS = "a b t th j h kh d dh r z s sh s d t z a gh f q k l m n h w y a a"
_ARABIC = {
    **dict(
        zip(
            "ابتثجحخدذرزسشصضطظعغفقكلمنهويىة",
            _ARABIC_LETTERS.split(),
            strict=True,
        )
    ),
    **{"ء": "", "ـ": "", "پ": "p", "چ": "ch", "ژ": "zh", "گ": "g", "ک": "k", "ی": "y", "ہ": "h"},
}
_CASED = _LATIN | _GREEK | _CYRILLIC
_UNCASED = _HEBREW | _ARABIC

_ROMAJI = (
    "a i u e o ka ki ku ke ko ga gi gu ge go sa shi su se so za ji zu ze zo ta chi tsu te to"
    " da ji zu de do na ni nu ne no ha hi fu he ho ba bi bu be bo pa pi pu pe po ma mi mu me"
    " mo ya yu yo ra ri ru re ro wa i e o n vu a i u e o"
)
_HIRAGANA = {
    **dict(
        zip(
            "あいうえおかきくけこがぎぐげごさしすせそざじずぜぞたちつてとだぢづでどなにぬねの"
            "はひふへほばびぶべぼぱぴぷぺぽまみむめもやゆよらりるれろわゐゑをんゔぁぃぅぇぉ",
            _ROMAJI.split(),
            strict=True,
        )
    ),
    **{"ゃ": "ya", "ゅ": "yu", "ょ": "yo"},
}
# Katakana lie 0x60 behind.
_KANA = _HIRAGANA | {chr(ord(kana) + 0x60): latin for kana, latin in _HIRAGANA.items()} | {"ー": ""}
_SMALL_Y, _SMALL_TSU = frozenset("ゃゅょャュョ"), frozenset("っッ")

# Hangul syllables are made of an initial, a vowel and a final (Unicode 3.12), in this order.
_INITIALS = "g kk n d tt r m b pp s ss  j jj ch k t p h"
_VOWELS = "a ae ya yae eo e yeo ye o wa wae oe yo u wo we wi yu eu ui i"
_FINALS = " k k k n n n t l k m l l l p l m p p t t ng t t k t p t"
_HANGUL = range(0xAC00, 0xD7A4)


def text(value: str, fits: Fits = str.isascii) -> str:
    """`value` in ASCII; characters that `fits` takes stay as they are."""
    if fits(value):
        return value
    composed = _plain(unicodedata.normalize("NFC", value))
    pieces: list[str] = []
    place = 0
    while place < len(composed):
        character = composed[place]
        if fits(character):
            pieces.append(character)
            place += 1
            continue
        latin, length = _at(composed, place)
        pieces.append(latin)
        place += length
    return "".join(pieces)


def _plain(value: str) -> str:
    """Half-width kana, and Arabic letters in the forms that they take within words, as letters."""
    if not any("\ufb50" <= one <= "\uff9f" for one in value):
        return value
    return unicodedata.normalize("NFKC", value)


def person_name(value: str, fits: Fits = str.isascii) -> str:
    """A PN in ASCII, or in characters that `fits` takes.

    Component groups that do not fit are left out where another one says the name; of a name in
    Chinese characters alone the phonetic group is better than their numbers.
    """
    if fits(value):
        return value
    groups = value.split("=")
    if groups[0]:
        kept = [group if fits(group) else "" for group in groups]
        kept[0] = text(groups[0], fits)
        if not _is_ideographic(groups[0]):
            return "=".join(kept).rstrip("=")
    spoken = [group for group in reversed(groups) if group and not _is_ideographic(group)]
    return text((spoken or [next(filter(None, groups), "")])[0], fits)


def _is_ideographic(value: str) -> bool:
    return any(unicodedata.name(one, "").startswith("CJK ") for one in value)


def _at(value: str, place: int) -> tuple[str, int]:
    """Latin letters for what stands at a place of `value`, and how many characters it is."""
    character = value[place]
    if character in _KANA or character in _SMALL_TSU:
        return _syllable(value, place)
    if ord(character) in _HANGUL:
        return _capitalised(_hangul(character), value, place), 1
    lower = character.lower()
    if lower in _CASED or lower[:1] in _CASED:
        return _letter(value, place)
    plain = unicodedata.normalize("NFKC", character)
    if plain != character:
        return text(plain), 1
    parts = unicodedata.normalize("NFD", character)
    bare = "".join(one for one in parts if not unicodedata.combining(one))
    if bare.lower() in _CASED:
        return _in_case(_CASED[bare.lower()], value, place, 1), 1
    if bare != parts:
        return text(bare), 1
    if character in _UNCASED:
        return _capitalised(_UNCASED[character], value, place), 1
    return _by_name(character, value, place), 1


# --- alphabets ----------------------------------------------------------------------------------


def _letter(value: str, place: int) -> tuple[str, int]:
    lower = value[place].lower()[:1]
    pair = lower + _bare(value[place + 1 : place + 2])
    if pair in ("μπ", "ντ", "γκ") and not _is_letter(value[place - 1 : place]):
        sound = {"μπ": "b", "ντ": "nt", "γκ": "gk"}[pair]
        return _in_case(sound, value, place, 2), 2
    if lower in _SPOKEN_WITH_V and pair[1:] == "υ":
        after = _bare(value[place + 2 : place + 3])
        sound = _SPOKEN_WITH_V[lower] + ("v" if after and after not in _VOICELESS else "f")
        return _in_case(sound, value, place, 2), 2
    if len(pair) == 2 and pair in _CASED:
        return _in_case(_CASED[pair], value, place, 2), 2
    return _in_case(_CASED[lower], value, place, 1), 1


def _bare(character: str) -> str:
    """A letter without case and accent; one with a diaeresis stands for itself."""
    parts = unicodedata.normalize("NFD", character.lower())
    return "" if "\u0308" in parts else parts[:1]


def _in_case(latin: str, value: str, place: int, length: int) -> str:
    """In capitals where the letter stands among capitals, else as the letter is."""
    if not value[place].isupper():
        return latin
    rest = value[place + 1 : place + length] or value[place + length : place + length + 1]
    neighbour = rest if _is_letter(rest[:1]) else value[max(place - 1, 0) : place]
    return latin.upper() if neighbour.isupper() else latin.capitalize()


def _is_letter(character: str) -> bool:
    return character.isalpha()


def _capitalised(latin: str, value: str, place: int) -> str:
    """For scripts without capitals: a word begins with one."""
    return latin if _is_letter(value[max(place - 1, 0) : place]) else latin.capitalize()


# --- syllables ----------------------------------------------------------------------------------


def _syllable(value: str, place: int) -> tuple[str, int]:
    kana, following = value[place], value[place + 1 : place + 2]
    if kana in _SMALL_TSU:
        if following not in _KANA:
            return "", 1
        latin, length = _syllable(value, place + 1)
        doubled = "t" if latin.startswith("ch") else latin[:1]
        return _capitalised(doubled + latin, value, place), length + 1
    latin = _KANA[kana]
    if following in _SMALL_Y and latin.endswith("i"):
        vowel = _KANA[following][1]
        latin = latin[:-1] + (vowel if latin[:-1] in ("sh", "ch", "j") else f"y{vowel}")
        return _capitalised(latin, value, place), 2
    return _capitalised(latin, value, place), 1


def _hangul(syllable: str) -> str:
    initials, vowels, finals = (row.split(" ") for row in (_INITIALS, _VOWELS, _FINALS))
    initial, rest = divmod(ord(syllable) - _HANGUL.start, len(vowels) * len(finals))
    vowel, final = divmod(rest, len(finals))
    return initials[initial] + vowels[vowel] + finals[final]


def _by_name(character: str, value: str, place: int) -> str:
    """What Unicode calls it: the last word of a letter's name, the number of an ideograph."""
    digit = unicodedata.decimal(character, None)
    if digit is not None:
        return str(digit)
    name = unicodedata.name(character, "")
    if name.startswith("CJK "):
        return f"U{ord(character):04X}"
    if not _is_letter(character):
        return "" if unicodedata.combining(character) else "?"
    return _capitalised(name.rpartition(" ")[2].lower() or "?", value, place)
