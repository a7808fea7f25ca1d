"""How long a patient's link works (S125). The token itself never changes; access by it ends."""

from datetime import date, timedelta


def last_day(study_date: str, received: date, days: int) -> date | None:
    """The last day on which a study can be reached by its link; None: no end.

    `days` count from the study date, or from the day of receipt when the study has none or one
    that had not come yet: a scanner's wrong clock must not keep a link open.
    """
    if days == 0:
        return None
    begin = _parsed(study_date)
    if begin is None or begin > received:
        begin = received
    try:
        return begin + timedelta(days=days)
    except OverflowError:
        return None


def _parsed(study_date: str) -> date | None:
    try:
        return date(int(study_date[:4]), int(study_date[4:6]), int(study_date[6:8]))
    except ValueError:
        return None
