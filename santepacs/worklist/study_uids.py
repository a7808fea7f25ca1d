"""Study Instance UIDs for orders that bring none, made once and kept (PS3.5 9.1)."""

from collections.abc import Callable

from santepacs.settings import Settings

_UID_LENGTH = 64
_UID_DIGITS = 25


class StudyUids:
    """Makes them for the stations that the site has chosen; read at the time of use."""

    def __init__(self, settings: Settings, randbelow: Callable[[int], int]) -> None:
        """`randbelow(n)`: an unpredictable number from 0 to n - 1 (``secrets.randbelow``)."""
        self._settings = settings
        self._randbelow = randbelow

    def are_made_for(self, station_ae_title: str) -> bool:
        """Whether steps of this station get one that their order does not bring."""
        settings = self._settings.worklist
        return settings.study_uid_for_all or station_ae_title in settings.study_uid_ae_titles

    def new(self) -> str:
        """A new UID under the site's root."""
        return new_uid(self._settings.worklist.study_uid_root, self._randbelow)


def new_uid(root: str, randbelow: Callable[[int], int]) -> str:
    """A UID under `root`: one more component, random, without leading zero."""
    digits = min(_UID_DIGITS, _UID_LENGTH - len(root) - 1)
    lowest: int = 10 ** (digits - 1)
    return f"{root}.{lowest + randbelow(9 * lowest)}"
