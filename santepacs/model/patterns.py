"""Patterns of matching keys, in which only ``*`` and ``?`` are wildcards, and those of names."""

from santepacs.model.names import asked_words, fold_components, fold_person_name, words


def glob(pattern: str, text: str) -> bool:
    """Whether `text` matches `pattern` as a whole; time grows with the product of their lengths."""
    p = t = 0
    star, resume = -1, 0
    while t < len(text):
        if p < len(pattern) and pattern[p] == "*":
            star, resume = p, t
            p += 1
        elif p < len(pattern) and pattern[p] in ("?", text[t]):
            p += 1
            t += 1
        elif star >= 0:
            resume += 1
            p, t = star + 1, resume
        else:
            return False
    return not pattern[p:].strip("*")


def name_patterns(pattern: str) -> list[list[str]]:
    """The folded patterns of a person-name key, one list for each component group it names.

    One list: any of its patterns may match any group of a name. Several: each non-empty list
    must match the group in its own place. Trailing components may be absent, so ``DOE^*`` is
    also ``DOE``.
    """
    return [_absent_components(fold_components(group)) for group in pattern.split("=")[:3]]


def _absent_components(pattern: str) -> list[str]:
    if not pattern.strip("*"):
        return []
    patterns = [pattern]
    while pattern.endswith("^*") and len(patterns) <= 5:
        pattern = pattern[:-2].rstrip("^")
        if pattern:
            patterns.append(pattern)
    return patterns


def words_match(pattern: str, name: str) -> bool:
    """Whether a PN value has each of the words that `pattern` asks for, in any order and script."""
    has, asked = words(name), asked_words(pattern)
    return bool(asked) and all(
        any(glob(spelling, word) for spelling in spellings for word in has) for spellings in asked
    )


def name_matches(pattern: str, name: str) -> bool:
    """Whether a PN value matches `pattern` without regard to case and accents."""
    wanted, groups = name_patterns(pattern), fold_person_name(name)
    if len(wanted) == 1:
        return any(group and glob(one, group) for one in wanted[0] for group in groups)
    places = [(ones, group) for ones, group in zip(wanted, groups, strict=False) if ones]
    return bool(places) and all(
        group and any(glob(one, group) for one in ones) for ones, group in places
    )
