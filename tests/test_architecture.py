"""The rules of docs/architecture.md that a program can check."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "santepacs"
MODULES = sorted(PACKAGE.rglob("*.py"))
DOORS = ("dicom", "hl7", "tokens", "web")
PURE = ("model", "wire/framing.py", "hl7/message.py", "hl7/charset.py", "hl7/escapes.py",
        "hl7/orders.py", "hl7/patients.py", "hl7/appointments.py", "hl7/commands.py",
        "hl7/records.py", "hl7/iso2022.py", "hl7/charset_names.py", "hl7/delimiters.py",
        "hl7/refusal.py", "hl7/acknowledgement.py", "hl7/compose.py", "hl7/compare.py",
        "hl7/comparison_file.py", "hl7/answers.py", "hl7/reading.py", "hl7/names.py",
        "hl7/samples.py", "tokens/dialogue.py", "worklist/mapping.py",
        "worklist/datasets.py", "worklist/keys.py", "worklist/requests.py",
        "worklist/explaining.py", "archive/header.py", "archive/walk.py", "archive/attributes.py",
        "dicom/status.py", "dicom/proposal.py", "dicom/request.py", "settings.py", "options.py",
        "errors.py", "logs.py")  # fmt: skip


def place(path):
    return path.relative_to(PACKAGE).as_posix()


def imports(path):
    """Every module that a source file imports, dotted."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def offenders(library, allowed):
    """Modules outside of `allowed` (places or prefixes of places) that import `library`."""
    return [
        place(path)
        for path in MODULES
        if any(name == library or name.startswith(library + ".") for name in imports(path))
        and not place(path).startswith(allowed)
    ]


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("twisted.internet.reactor", ("service.py", "commands/")),
        ("pynetdicom", ("dicom/",)),
        ("txpostgres", ("db/database.py",)),
        ("psycopg2", ("db/",)),
        ("klein", ("web/",)),
        ("jinja2", ("web/",)),
        ("twisted.internet.threads", ("threads.py",)),
        ("twisted.web", ("web/",)),
    ],
)
def test_a_library_is_used_in_its_place_alone(library, allowed):
    assert offenders(library, allowed) == []


def test_a_door_never_imports_another_door():
    crossings = []
    for path in MODULES:
        door = place(path).partition("/")[0]
        if door not in DOORS:
            continue
        for name in imports(path):
            other = name.split(".")[1] if name.startswith("santepacs.") else ""
            if other in DOORS and other != door:
                crossings.append((place(path), name))
    assert crossings == []


# Of the DICOM door, what runs on the reactor. All else runs in associations' threads, behind
# `handoff`, and could run in other processes.
BEFORE_THE_HANDOFF = ("dicom/gate.py", "dicom/arrivals.py", "dicom/admission.py", "dicom/entity.py")
# The two ways back: `Threads.ask` is what both consist of.
BACK = ("dicom/resources.py", "dicom/pages.py")


def test_behind_the_handoff_the_house_is_reached_by_asking_alone():
    for path in MODULES:
        if not place(path).startswith("dicom/") or place(path).startswith(BEFORE_THE_HANDOFF):
            continue
        if place(path).startswith(BACK):
            continue
        assert not [n for n in imports(path) if n.startswith("twisted.internet")], place(path)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not used & {"database", "transaction", "callFromThread"}, place(path)


def test_use_cases_and_state_do_not_know_the_doors():
    inner = ("archive/", "worklist/", "access/", "db/", "model/")
    crossings = [
        (place(path), name)
        for path in MODULES
        if place(path).startswith(inner)
        for name in imports(path)
        if name.startswith(tuple(f"santepacs.{door}" for door in (*DOORS, "wire", "commands")))
    ]
    assert crossings == []


@pytest.mark.parametrize("module", [place(p) for p in MODULES if place(p).startswith(PURE)])
def test_pure_modules_have_no_input_and_output(module):
    banned = ("twisted", "pynetdicom", "psycopg2", "txpostgres", "klein", "socket", "threading",
              "subprocess", "time", "random", "secrets", "santepacs.db")  # fmt: skip
    used = imports(PACKAGE / module)
    assert [n for n in used if n in banned or n.startswith(tuple(b + "." for b in banned))] == []


def test_the_words_of_the_house_use_the_standard_library_alone():
    for path in sorted((PACKAGE / "model").glob("*.py")):
        foreign = [name for name in imports(path) if name.startswith(("pydicom", "santepacs"))]
        allowed = ("santepacs.model", "santepacs.errors")
        assert [n for n in foreign if not n.startswith(allowed)] == [], place(path)


_SQL = re.compile(
    r"\b(SELECT\s.+\sFROM\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s)", re.DOTALL
)


def test_sql_stands_in_db_alone():
    found = []
    for path in MODULES:
        if place(path).startswith("db/"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and _SQL.search(text):
                found.append((place(path), node.lineno))
    assert found == []


def test_there_is_no_global_and_nothing_unfinished():
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        assert not any(isinstance(node, ast.Global) for node in ast.walk(tree)), place(path)
        assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError", text), place(path)


def test_test_modules_have_names_of_their_own():
    """pytest imports them by their bare names."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_every_module_says_what_it_is_for():
    silent = [p for p in MODULES if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert [place(p) for p in silent] == []


def test_modules_stay_readable():
    lengths = {place(path): path.read_text("utf-8").count("\n") for path in MODULES}
    declarations = {"settings.py"}  # one list of declarations, better in one place
    assert {m: n for m, n in lengths.items() if n > 320 and m not in declarations} == {}


def test_the_repository_speaks_of_the_project_alone():
    listed = [p for folder in ("santepacs", "templates", "docs", "etc", "tests", "twisted",
                             "bench")
              for p in (ROOT / folder).rglob("*") if p.is_file()]  # fmt: skip
    listed += [ROOT / name for name in ("README.md", "Makefile", "setup.cfg", "pyproject.toml")]
    for path in listed:
        if path.suffix in (".pyc", ".png", ".cache") or path == Path(__file__):
            continue
        text = path.read_text("utf-8", errors="replace")
        assert not re.search(r"/work/|/root/|pypi\.org|registry\.npmjs|deb\.debian", text), path
