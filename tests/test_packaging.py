"""What is shipped: the wheel's contents, the sample configuration, the systemd unit."""

import ast
import configparser
import importlib.metadata
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from santepacs import settings
from support.server import BIN

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed():
    """The files that the installed wheel brought."""
    try:
        files = metadata.files("santepacs")
    except metadata.PackageNotFoundError:
        pytest.fail("santepacs is not installed: run the tests with `make test`")
    return {str(path) for path in files}


def test_the_wheel_has_every_source_file_template_and_migration(installed):
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "santepacs").rglob("*")
        if path.suffix in (".py", ".sql", ".typed")
    }
    wanted |= {
        "santepacs/" + path.relative_to(ROOT).as_posix()
        for path in (ROOT / "templates").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    wanted.add("twisted/plugins/santepacs_plugin.py")
    assert wanted - installed == set()


def test_twistd_finds_the_plugin_of_the_wheel():
    shown = subprocess.run(
        [BIN / "twistd", "--help"], capture_output=True, text=True, cwd="/", check=True
    )
    assert re.search(r"^\s+santepacs\s+A PACS", shown.stdout, re.MULTILINE)


def test_the_options_are_as_promised():
    shown = subprocess.run(
        [BIN / "twistd", "santepacs", "--help"], capture_output=True, text=True, cwd="/", check=True
    ).stdout
    for option in ("-c, --config=", "-d, --data=", "-s, --set="):
        assert option in shown


def test_the_sample_configuration_is_made_from_the_declarations():
    sample = (ROOT / "etc/santepacs.toml").read_text("utf-8")
    assert sample == settings.sample(), "run `make sample`"


def test_the_sample_configuration_is_loaded_with_every_default():
    assert settings.load(settings.sample(), "sample").pinned == {}
    active = re.sub(r"^#(\w+ = )", r"\1", settings.sample(), flags=re.MULTILINE)
    loaded = settings.load(active, "sample")
    assert len(loaded.pinned) == len(list(settings.options()))
    for option in settings.options():
        assert loaded.value(option.name) == option.default


def test_the_unit_starts_what_there_is():
    unit = (ROOT / "etc/santepacs.service").read_text("utf-8").replace("\\\n", " ")
    command = shlex.split(re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)[1])
    assert Path(command[0]).name == "twistd"
    assert command[1:4] == ["--nodaemon", "--pidfile=", "santepacs"]
    assert {"--config", "--data"} <= set(command)
    assert "Type=notify" in unit and "User=santepacs" in unit


def test_the_python_that_is_used_is_supported():
    assert sys.version_info >= (3, 11)


def test_what_the_package_imports_is_installed_with_it():
    """A library that the tests alone bring along would be missing on a user's machine."""
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg", "utf-8")
    wanted = {
        re.split(r"[ <>=]", line)[0].lower().replace("_", "-")
        for line in declared["options"]["install_requires"].splitlines()
        if line
    }
    providers = importlib.metadata.packages_distributions()
    for path in (ROOT / "santepacs").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            names += [one.name for one in node.names] if isinstance(node, ast.Import) else []
            for name in {each.partition(".")[0] for each in names} - {"santepacs", "zope"}:
                if name in sys.stdlib_module_names:
                    continue
                found = {one.lower().replace("_", "-") for one in providers.get(name, [])}
                assert found & wanted, f"{name} of {path.name} is not in install_requires"
