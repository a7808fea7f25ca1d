"""Small tables about the installation itself: saved settings, and facts such as the key's print."""

from santepacs.db.database import Transaction

_HL7_MAPPING = "hl7 mapping"


async def saved_settings(tx: Transaction) -> dict[str, str]:
    """The settings saved in the portal or by the command: ``section.key`` -> text."""
    rows = await tx.fetch_all("SELECT name, value FROM setting")
    return {row.name: row.value for row in rows}


async def save_setting(tx: Transaction, name: str, value: str) -> None:
    """Save one setting."""
    await tx.execute(
        "INSERT INTO setting (name, value) VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_at = now()",
        name,
        value,
    )


async def fact(tx: Transaction, name: str) -> str | None:
    """A fact about this installation, or None."""
    row = await tx.fetch_one("SELECT value FROM fact WHERE name = %s", name)
    return row and str(row.value)


async def record_fact(tx: Transaction, name: str, value: str) -> None:
    """Write a fact down once; one that is known stays as it is."""
    await tx.execute(
        "INSERT INTO fact (name, value) VALUES (%s, %s) ON CONFLICT (name) DO NOTHING",
        name,
        value,
    )


async def change_fact(tx: Transaction, name: str, value: str) -> None:
    """Write a fact down in place of what was known."""
    await tx.execute(
        "INSERT INTO fact (name, value) VALUES (%s, %s)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        name,
        value,
    )


async def hl7_mapping(tx: Transaction) -> str | None:
    """The site's HL7 field mapping as JSON (`santepacs.worklist.mapping`); None: the default."""
    return await fact(tx, _HL7_MAPPING)


async def keep_hl7_mapping(tx: Transaction, content: str) -> None:
    """Put another HL7 field mapping in force."""
    await change_fact(tx, _HL7_MAPPING, content)


async def forget_hl7_mapping(tx: Transaction) -> None:
    """Put the default HL7 field mapping in force again."""
    await tx.execute("DELETE FROM fact WHERE name = %s", _HL7_MAPPING)
