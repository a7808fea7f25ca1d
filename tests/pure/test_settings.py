"""Settings: declared once, parsed strictly, pinned by file and command line."""

import pytest

from santepacs import settings
from santepacs.errors import Malformed
from santepacs.options import shown, toml
from santepacs.settings import Settings, load


def test_defaults_are_as_the_contract_says():
    defaults = Settings()
    assert (defaults.dicom.ae_title, defaults.dicom.port) == ("SANTEPACS", 11112)
    assert (defaults.hl7.port, defaults.web.port) == (3001, 3000)
    assert (defaults.dicom.tls_port, defaults.dicom.tls_client_certificates) == (0, "no")
    assert defaults.hl7.token_reply == "full"
    assert defaults.worklist.study_uid_root == "1.2.300.0.7230010.3.1.3"


def test_the_command_line_wins_over_the_file_and_both_over_what_was_saved():
    loaded = load("[web]\nport = 4000\ninstitution = 'A'\n", "site.toml", ["web.port=5000"])
    complaints = loaded.take({"web.port": "6000", "web.institution": "B", "web.department": "C"})
    assert complaints == []
    assert (loaded.web.port, loaded.web.institution, loaded.web.department) == (5000, "A", "C")
    assert loaded.pinned == {"web.port": "--set", "web.institution": "site.toml"}


def test_what_is_no_longer_saved_returns_to_its_default():
    held = Settings()
    held.take({"web.institution": "B"})
    held.take({})
    assert held.web.institution == ""


def test_live_only_leaves_alone_what_needs_a_start():
    held = Settings()
    held.take({"web.port": "6000", "web.institution": "B"}, live_only=True)
    assert (held.web.port, held.web.institution) == (3000, "B")


def test_a_saved_value_that_cannot_be_used_is_a_complaint_not_a_failure():
    held = Settings()
    complaints = held.take({"web.port": "many", "gone.setting": "1", "database.url": "x"})
    assert len(complaints) == 2
    assert held == Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("dicom.debug", "yes", True),
        ("dicom.debug", "off", False),
        ("dicom.port", " 104 ", 104),
        ("hl7.idle_timeout", "0.5", 0.5),
        ("hl7.idle_timeout", "60", 60.0),
        ("worklist.study_uid_ae_titles", "CT1, MR1,", ("CT1", "MR1")),
        ("web.institution", "Κλινική", "Κλινική"),
        ("web.viewer_url", "", ""),
        ("web.server_name", "pacs.example.org", "pacs.example.org"),
        ("hl7.bind", "::1", "::1"),
        ("dicom.tls_port", "2762", 2762),
        ("dicom.tls_client_certificates", "if given", "if given"),
        (
            "dicom.private_sop_classes",
            "1.2.3, 1.2.840.113619.4.26",
            ("1.2.3", "1.2.840.113619.4.26"),
        ),
    ],
)
def test_text_becomes_a_value_and_back(name, text, value):
    declaration = settings.find_option(name)
    assert declaration.parse(text, "test") == value
    assert declaration.parse(shown(value), "test") == value


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("dicom.debug", "maybe"),
        ("dicom.debug", 1),
        ("dicom.port", "104.5"),
        ("dicom.port", True),
        ("dicom.port", -1),
        ("dicom.port", 65536),
        ("dicom.port", "9" * 400),
        ("dicom.ae_title", ""),
        ("dicom.ae_title", "A B"),
        ("dicom.ae_title", "A\\B"),
        ("dicom.ae_title", "SEVENTEEN_LETTERS"),
        ("dicom.conflict", "overwrite"),
        ("dicom.tls_client_certificates", "maybe"),
        ("dicom.private_sop_classes", "CT"),
        ("dicom.private_sop_classes", ["1." + "2" * 63]),
        ("dicom.private_sop_classes", "1.2.3 1.2.4"),
        ("hl7.idle_timeout", "nan"),
        ("hl7.idle_timeout", float("inf")),
        ("hl7.idle_timeout", 0),
        ("worklist.study_uid_root", "1.02.3"),
        ("worklist.study_uid_root", "1." + "2" * 60),
        ("worklist.study_uid_ae_titles", ["A B"]),
        ("worklist.study_uid_ae_titles", [1]),
        ("web.viewer_url", "javascript:alert(1)"),
        ("web.server_name", "http://x"),
        ("web.institution", "two\nlines"),
        ("web.institution", 5),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_what_is(name, raw):
    with pytest.raises(Malformed) as caught:
        settings.find_option(name).parse(raw, "site.toml")
    assert "site.toml" in str(caught.value) and name in str(caught.value)
    assert "must be" in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "text",
    [
        "[web]\nprot = 1\n",
        "[wep]\nport = 1\n",
        "port = 1\n",
        "[web\n",
        "[web]\nport = 1\nport = 2\n",
    ],
)
def test_a_file_with_something_unknown_or_broken_is_refused_by_name(text):
    with pytest.raises(Malformed, match=r"site\.toml"):
        load(text, "site.toml")


@pytest.mark.parametrize("override", ["web.port", "port=1", "web.prot=1", "=", "web.port=x"])
def test_a_bad_override_is_refused(override):
    with pytest.raises(Malformed, match="--set"):
        load(overrides=[override])


def test_every_setting_says_what_it_means():
    names = set()
    for option in settings.options():
        assert option.meaning.endswith("."), option.name
        assert option.allowed()
        assert option.name not in names
        names.add(option.name)
        assert option.parse(shown(option.default), "default") == option.default
        assert load(f"[{option.section}]\n{option.key} = {toml(option.default)}\n", "x").pinned
