"""Folding of names, and tokens."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from santepacs.model import tokens
from santepacs.model.names import asked_words, fold, fold_person_name, trigrams, words

KEY = bytes(range(64))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Müller", "MULLER"),
        ("Παπαδόπουλος", "παπαδοπουλοσ"),
        ("ΓΙΏΡΓΟΣ", "γιωργος"),
        ("Straße", "STRASSE"),
        ("Łukasz", "lukasz"),
        ("Ørsted", "orsted"),
        ("İstanbul", "istanbul"),
        ("Ёлкин", "елкин"),
        ("ＤＯＥ", "doe"),
        ("Nguyễn", "nguyen"),
        ("  two   spaces ", "two spaces"),
    ],
)
def test_the_same_letters_fold_the_same(one, other):
    assert fold(one) == fold(other)


@pytest.mark.parametrize(("one", "other"), [("Doe", "Dope"), ("山田", "田山"), ("か", "が!")])
def test_other_letters_fold_otherwise(one, other):
    assert fold(one) != fold(other)


@given(st.text(max_size=60))
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)


def test_person_names_fold_by_group():
    assert fold_person_name("Yamada^Tarou=山田^太郎=やまだ^たろう") == (
        "yamada^tarou",
        "山田^太郎",
        fold("やまだ") + "^" + fold("たろう"),
    )
    assert fold_person_name("DOE^JANE^^^") == ("doe^jane", "", "")


def test_trigrams_cover_every_part():
    assert trigrams("muller") == ["ler", "lle", "mul", "ull"]
    assert trigrams("李") == ["李"]
    assert trigrams("") == []


@pytest.mark.parametrize(
    "spellings",
    [
        ("Παπαδοπούλου^Μαρία", "Papadopoulou^Maria", "maria papadopoyloy"),
        ("Чехов", "Chekhov", "Tschechow"),
        ("Щукин", "Shchukin", "Schtschukin"),
        ("Соловьёв", "Solovyev", "Soloviev", "Solovjew"),
        ("Γιάννης", "Giannis", "Yannis", "Jannis"),
        ("Ευάγγελος", "Evangelos", "Efaggelos"),
        ("Müller^Jörg", "MUELLER JOERG", "Muller-Jorg"),
        ("Meyer", "Meier"),
        ("Thomas", "Tomas"),
    ],
)
def test_what_sounds_the_same_has_words_in_common(spellings):
    found = {word for name in spellings[:1] for word in words(name)}
    for other in spellings:
        assert all(found.intersection(ways) for ways in asked_words(other)), other


@pytest.mark.parametrize(
    ("pattern", "asked"),
    [
        ("doe^jane", [["do", "doe"], ["iane", "jane"]]),
        ("DOE^*", [["do", "doe"]]),
        ("li*", [["li*"]]),
        ("*oe*", []),
        ("d?e", []),
        ("d*e", []),
        ("", []),
        ("^=, .'", []),
    ],
)
def test_a_pattern_asks_for_words_or_not_at_all(pattern, asked):
    assert asked_words(pattern) == asked


@given(st.text(st.characters(exclude_characters="\0"), max_size=60))
def test_words_are_words_of_tsquery(text):
    for word in [*words(text), *(way for ways in asked_words(text) for way in ways)]:
        assert word
        assert not set(word) & set("'\\ ()&|!<:")


def test_a_token_is_permanent():
    """This very value stands in RIS databases: it must never change."""
    expected = "aCgbY6L4vgCh6wZBX2r1p9GN8zr1cdiBcDGqbXCcENmSnOoUyoL5EvHUTiHUKfoo"
    assert tokens.token(KEY, "1.2.3", 1) == expected


def test_tokens_have_their_form_and_differ():
    made = {tokens.token(KEY, f"1.2.{n}", version) for n in range(200) for version in (1, 2)}
    assert len(made) == 400
    assert all(re.fullmatch(r"[A-Za-z0-9]{64}", token) for token in made)
    assert tokens.token(bytes(64), "1.2.3", 1) != tokens.token(KEY, "1.2.3", 1)


@pytest.mark.parametrize(
    "text",
    ["", "a" * 63, "a" * 65, "a" * 63 + "'", "a" * 63 + "\n", "٣" * 64, "a" * 63 + "é", "\0" * 64],
)
def test_what_is_no_token_is_known_without_asking(text):
    assert not tokens.is_token(text)
