"""What the template's placeholders stand for: numbers and tables, all of them the code's own."""

import ssl
from pathlib import Path
from string import Template

from pynetdicom import AE

from docs.conformance_source import associations as agreements
from docs.conformance_source import keys, statuses
from docs.conformance_source.markdown import (
    attribute,
    attributes,
    listed,
    table,
    tag,
    uid_name,
    wrapped,
)
from santepacs.archive import walk
from santepacs.archive.header import TAGS
from santepacs.db import commitments, jobs
from santepacs.db import performed as kept
from santepacs.dicom import (
    admission,
    associations,
    committing,
    contexts,
    entity,
    identifier,
    messages,
    performed,
    procedure,
    progress,
    proposal,
    provider,
    references,
    request,
    retrieve,
    spool,
    tls,
    upper,
)
from santepacs.model import matching
from santepacs.options import shown
from santepacs.settings import DicomSettings, options
from santepacs.worklist import datasets
from santepacs.worklist import keys as worklist_keys

TEMPLATE = Path(__file__).with_name("template.md")
SECTIONS = ("dicom", "worklist", "server")
"""Of the settings: those with something that a DICOM peer notices."""


def statement() -> str:
    """The text of docs/conformance.md."""
    template = Template(TEMPLATE.read_text("utf-8"))
    return wrapped(template.substitute({**_numbers(), **_tables()}))


def _numbers() -> dict[str, object]:
    dicom = DicomSettings()
    ae = AE(dicom.ae_title)  # as incoming and outgoing associations begin with
    minimum_tls = ssl.TLSVersion(tls.client_context(dicom, pinned=True).minimum_version)
    return {
        "application_context": proposal.APPLICATION_CONTEXT,
        "implementation_uid": ae.implementation_class_uid,
        "implementation_version": ae.implementation_version_name,
        "ae_title": dicom.ae_title,
        "suffixes": listed(f"`{suffix}`" for suffix in admission.SUFFIXES if suffix),
        "native": listed(map(uid_name, contexts.NATIVE)),
        "storage_class_count": len(contexts.storage_classes()),
        "maximum_pdu": f"{provider.MAXIMUM_PDU:,}",
        "maximum_contexts": contexts.MAXIMUM_CONTEXTS,
        "largest_request": f"{request.LARGEST_REQUEST:,}",
        "strangers": associations.STRANGERS,
        "waiting_in_all": entity.LIMITS.in_all,
        "waiting_of_network": entity.LIMITS.of_one_network,
        "handshakes": associations.UNDECIDED,
        "handshakes_of_network": associations.UNDECIDED_OF_NETWORK,
        "pipelined": messages.MAXIMUM_PIPELINED,
        "message_grace": f"{upper.GRACE:g}",
        "message_rate": f"{upper.MINIMUM_RATE:,}",
        "largest_object": f"{spool.LARGEST_OBJECT / 1024**3:g} GiB",
        "largest_identifier": f"{messages.LARGEST_IDENTIFIER / 1024**2:g} MiB",
        "maximum_keys": f"{identifier.MAXIMUM_KEYS:,}",
        "maximum_value": f"{matching.MAXIMUM_VALUE:,}",
        "maximum_values": f"{matching.MAXIMUM_LIST:,}",
        "maximum_uids": f"{retrieve.MAXIMUM_UIDS:,}",
        "maximum_failed": f"{progress.MAXIMUM_FAILED:,}",
        "progress_interval": f"{progress.INTERVAL:g}",
        "progress_silence": f"{progress.SILENCE:g}",
        "maximum_references": f"{references.MAXIMUM_REFERENCES:,}",
        "open_transactions": f"{commitments.MAXIMUM_OPEN:,}",
        "open_references": f"{commitments.MAXIMUM_REFERENCES:,}",
        "commitment_days": f"{committing.EXPIRY:g}",
        "commitment_spacing": f"{jobs.SPACING:g}",
        "commitment_delays": listed(f"{delay:g}" for delay in committing.RETRIES.delays),
        "procedure_elements": f"{performed.MAXIMUM_ELEMENTS:,}",
        "procedure_items": performed.MAXIMUM_ITEMS,
        "procedure_updates": f"{kept.MAXIMUM_DATA_SETS:,}",
        "procedure_required": listed(map(attribute, sorted(performed.REQUIRED, key=tag))),
        "procedure_over": f"0x{procedure.MAY_NO_LONGER_BE_UPDATED:04X}",
        "maximum_elements": f"{walk.MAXIMUM_ELEMENTS:,}",
        "maximum_depth": walk.MAXIMUM_DEPTH,
        "maximum_steps": worklist_keys.MAXIMUM_STEPS,
        "worklist_left_out": listed(map(attribute, sorted(datasets._NEVER_EMPTY, key=tag))),
        "tls_minimum": minimum_tls.name.removeprefix("TLSv").replace("_", "."),
        "tls_ciphers": tls.CIPHERS,
    }


def _tables() -> dict[str, str]:
    return {
        "permissions": agreements.permissions(),
        "refusals": agreements.refusals(),
        "service_contexts": agreements.service_contexts(),
        "storage_syntaxes": agreements.storage_syntaxes(),
        "proposed_to_store": agreements.proposed_to_store(),
        "storage_classes": agreements.storage_classes(),
        "query_options": agreements.query_options(),
        "store_statuses": statuses.statuses(statuses.STORE),
        "find_statuses": statuses.statuses(statuses.FIND),
        "worklist_statuses": statuses.statuses(statuses.WORKLIST),
        "move_statuses": statuses.statuses(statuses.MOVE),
        "get_statuses": statuses.statuses(statuses.GET),
        "commitment_statuses": statuses.statuses(statuses.COMMITMENT),
        "commitment_reasons": statuses.reasons(statuses.REASONS),
        "create_statuses": statuses.statuses(statuses.CREATE),
        "set_statuses": statuses.statuses(statuses.SET),
        "query_keys": keys.query_keys(),
        "intervals": keys.intervals(),
        "worklist_keys": keys.worklist_keys(),
        "worklist_answers": attributes(datasets._TOP),
        "worklist_step_answers": attributes(datasets._STEP),
        "character_sets": keys.character_sets(),
        "indexed": attributes(TAGS),
        "settings": _settings(),
    }


def _settings() -> str:
    rows = []
    for option in options():
        if option.section not in SECTIONS:
            continue
        is_free_text = option.type is str and not option.choices
        allowed = "" if is_free_text else f" ({option.allowed()})"
        when = "" if option.live else " Takes effect at the next start."
        default = f"`{shown(option.default)}`" if option.default not in ("", ()) else "empty"
        rows.append((f"`{option.name}`", default, f"{option.meaning}{allowed}{when}"))
    return table(("Parameter", "Default", "Meaning"), rows)
