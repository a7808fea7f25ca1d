"""Text of any script in Latin letters."""

import sys

import pytest

from santepacs.model.transliterate import person_name, text


@pytest.mark.parametrize(
    "written, latin",
    [
        ("Doe^Jane", "Doe^Jane"),
        ("Müller^Jörg", "Muller^Jorg"),
        ("Straße Æsir Łódź Đorđe", "Strasse Aesir Lodz Dorde"),
        ("İpek^Şahin ğ", "Ipek^Sahin g"),
        ("Παπαδοπούλου^Μαρία", "Papadopoulou^Maria"),
        ("ΠΑΠΑΔΟΠΟΥΛΟΥ^ΜΑΡΙΑ", "PAPADOPOULOU^MARIA"),
        ("Θανάσης ΘΑΝΑΣΗΣ", "Thanasis THANASIS"),
        ("Ψωμιάδης Χρήστος", "Psomiadis Christos"),
        ("Ευάγγελος Ευτυχία Αυγή", "Evangelos Eftychia Avgi"),
        ("Αϋφαντής", "Ayfantis"),
        ("Μπάμπης", "Bampis"),
        ("Щукина^Юлия ЩУКИНА", "Shchukina^Yuliya SHCHUKINA"),
        ("Їжак Євген Ёлкин", "Yizhak Yevgen Elkin"),
        ("Ђорђевић", "Djordjevic"),
        ("כהן^דוד", "Khn^Dvd"),
        ("محمد^أحمد", "Mhmd^Ahmd"),
        ("ﻣﺤﻤﺪ", "Mhmd"),
        ("やまだ^たろう", "Yamada^Tarou"),
        ("ヤマダ^タロウ", "Yamada^Tarou"),
        ("ｷｮｳｺ ﾀﾞ", "Kyouko Da"),
        ("がっこう まっちゃ しゅう", "Gakkou Matcha Shuu"),
        ("홍^길동", "Hong^Gildong"),
        ("山田", "U5C71U7530"),
        ("١٢٣", "123"),
        ("→", "?"),
    ],
)
def test_letters(written, latin):
    assert text(written) == latin


@pytest.mark.parametrize(
    "name, latin",
    [
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada^Tarou"),
        ("=山田^太郎=やまだ^たろう", "Yamada^Tarou"),
        ("山田^太郎==やまだ^たろう", "Yamada^Tarou"),
        ("洪^吉洞=洪^吉洞=홍^길동", "Hong^Gildong"),
        ("=山田", "U5C71U7530"),
        ("Παπαδοπούλου^Μαρία", "Papadopoulou^Maria"),
        ("Doe=Doe", "Doe=Doe"),
    ],
)
def test_of_a_name_the_group_that_can_be_spoken_is_kept(name, latin):
    assert person_name(name) == latin


def test_what_fits_is_left_as_it_is():
    def is_latin_1(value):
        return all(ord(character) < 256 for character in value)

    assert text("Müller Παππάς", is_latin_1) == "Müller Pappas"
    assert person_name("Müller=山田", is_latin_1) == "Müller"


def test_every_character_becomes_ascii():
    for number in range(sys.maxunicode + 1):
        if not 0xD800 <= number < 0xE000 and number % 7 == 0:
            assert text(f"a{chr(number)}b").isascii(), hex(number)
