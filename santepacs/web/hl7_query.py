"""The filters of the HL7 log as they stand in its address. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from santepacs.db.messages import MessageFilter

MAXIMUM_LENGTH = 200
FIELDS = ("verdict", "type", "application", "facility", "patient_id", "text", "days", "before")
REFUSED = "refused"
VERDICTS = {
    "": "all",
    "AA": "accepted (AA)",
    REFUSED: "refused (AE, AR)",
    "AE": "to be mended (AE)",
    "AR": "rejected (AR)",
}
DAYS = {"": "ever", "1": "24 hours", "2": "2 days", "7": "7 days", "30": "30 days"}


@dataclass(frozen=True, slots=True)
class Asked:
    """The filters, as fields of the form and as what the database is asked."""

    fields: dict[str, str]
    filters: tuple[MessageFilter, ...]
    """One for each verdict that is asked for."""
    before: int | None

    @property
    def is_filtered(self) -> bool:
        """Whether anything is left out."""
        return any(text for name, text in self.fields.items() if name != "before")

    def address(self, path: str = "/hl7", **changes: str) -> str:
        """The log's address with other filters; the page begins anew."""
        kept = {name: text for name, text in self.fields.items() if name != "before"}
        query = urlencode({name: text for name, text in (kept | changes).items() if text})
        return f"{path}?{query}" if query else path


def read(values: Mapping[str, str], now: datetime) -> Asked:
    """The filters in the fields of a request; what cannot be read is left out."""
    fields = {name: values.get(name, "").strip()[:MAXIMUM_LENGTH] for name in FIELDS}
    if fields["verdict"] not in VERDICTS:
        fields["verdict"] = ""
    if fields["days"] not in DAYS:
        fields["days"] = ""
    if not re.fullmatch("[0-9]{1,18}", fields["before"]):
        fields["before"] = ""
    verdicts = ("AE", "AR") if fields["verdict"] == REFUSED else (fields["verdict"],)
    since = now - timedelta(days=int(fields["days"])) if fields["days"] else None
    filters = tuple(
        MessageFilter(
            received_from=since,
            sending_application=fields["application"],
            sending_facility=fields["facility"],
            message_type=fields["type"].upper(),
            verdict=verdict,
            patient_id=fields["patient_id"],
            text=fields["text"],
        )
        for verdict in verdicts
    )
    return Asked(fields, filters, int(fields["before"]) if fields["before"] else None)
