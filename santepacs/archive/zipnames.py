"""Names inside zips and of zips: whatever the objects say, they are harmless on every system.

Only ``A-Z a-z 0-9 . _ -``; never empty, never dots alone, never a device name of Windows; bounded;
different even where case does not count.
"""

import re
import unicodedata

from santepacs.db.studies import ObjectFile, SeriesRow, StudyRow

MAXIMUM_LENGTH = 48
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def safe(text: str, otherwise: str) -> str:
    """`text` as one harmless name; `otherwise` when none of its letters can stand."""
    decomposed = unicodedata.normalize("NFKD", text[: 4 * MAXIMUM_LENGTH])
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    name = re.sub(r"[^A-Za-z0-9.-]+", "_", bare)
    name = re.sub(r"\.{2,}", ".", name)[:MAXIMUM_LENGTH].strip("._-")
    if not name:
        return otherwise
    return f"_{name}" if _DEVICE.fullmatch(name) else name


def patient_name(study: StudyRow) -> str:
    """The folder of a patient: his name if it can be written in ASCII, and his ID."""
    name = safe(study.patient_name.split("=")[0].replace("^", "_"), "")
    number = safe(study.patient_id, "")
    return safe("_".join(part for part in (name, number) if part), "patient")


def study_name(study: StudyRow) -> str:
    """The folder of a study: date, modalities, description."""
    parts = [study.study_date, "-".join(study.modalities), study.study_description]
    return safe("_".join(part for part in parts if part), "study")


def series_name(item: ObjectFile | SeriesRow) -> str:
    """The folder of a series: number, modality, description."""
    number = "" if item.series_number is None else f"{item.series_number:03d}"
    parts = [number, item.modality, item.series_description]
    return safe("_".join(part for part in parts if part), "series")


class Names:
    """Gives each object of one zip its path; no two are the same."""

    def __init__(self) -> None:
        self._folders: dict[tuple[str, ...], str] = {}
        self._taken: set[str] = set()

    def of(self, item: ObjectFile, study: StudyRow) -> str:
        """The path of `item` in the zip."""
        patient = self._folder((str(study.patient),), "", patient_name(study))
        in_patient = self._folder((item.study_instance_uid,), patient, study_name(study))
        key = (item.study_instance_uid, item.series_instance_uid)
        in_study = self._folder(key, in_patient, series_name(item))
        number = item.id if item.instance_number is None else item.instance_number
        return self._different(in_study, f"{abs(number):06d}", ".dcm")

    def _folder(self, key: tuple[str, ...], parent: str, name: str) -> str:
        if key not in self._folders:
            self._folders[key] = self._different(parent, name, "/")
        return self._folders[key]

    def _different(self, folder: str, stem: str, end: str) -> str:
        path, count = f"{folder}{stem}{end}", 1
        while path.lower() in self._taken:
            count += 1
            path = f"{folder}{stem}_{count}{end}"
        self._taken.add(path.lower())
        return path
