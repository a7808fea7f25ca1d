"""Writes docs/conformance.md: ``python -m docs.conformance_source`` in the repository's folder."""

from pathlib import Path

from docs.conformance_source.statement import statement

Path("docs/conformance.md").write_text(statement(), "utf-8")
