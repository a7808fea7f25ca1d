"""The studies that a target was loaded with: what to ask for, and how many matches there are."""

from dataclasses import dataclass
from typing import Protocol

from bench import corpus
from bench.targets import Target


class Population(Protocol):
    """Studies of many patients on many days; `choice` is any number, to choose among them."""

    @property
    def of_name(self) -> int | None:
        """Studies that a name's prefix finds; None: it is not known."""

    def patient_id(self, choice: int) -> str:
        """The ID of a patient with one study."""

    def name_prefix(self, choice: int) -> str:
        """A pattern for the beginning of a Patient's Name."""

    def days_with(self, matches: int) -> int | None:
        """Days that have this many studies together; None when there are none."""

    def dates(self, choice: int, days: int) -> str:
        """A range of as many days."""


def of(target: Target) -> Population:
    """What the target was loaded with."""
    if target.data != "index":
        return Stored(target.loaded.studies)
    # Needs santepacs and psycopg2, which nothing else here does.
    from bench.index_population import Indexed

    return Indexed(target.loaded.studies)


@dataclass(frozen=True, slots=True)
class Stored:
    """The fill, stored object by object: spread evenly over days and surnames (`bench.corpus`)."""

    studies: int

    @property
    def of_name(self) -> int | None:
        """As many of each surname."""
        return self.studies // corpus.SURNAMES

    def patient_id(self, choice: int) -> str:
        """Each study is another patient's."""
        return corpus.fill_id(choice % self.studies)

    def name_prefix(self, choice: int) -> str:
        """Four letters fit one surname."""
        return corpus.fill_name(choice % corpus.SURNAMES)[:4] + "*"

    def days_with(self, matches: int) -> int | None:
        """Every day has as many."""
        days, rest = divmod(matches, self.studies // corpus.DAYS or matches + 1)
        return days if days and not rest and days < corpus.FREE_DAYS else None

    def dates(self, choice: int, days: int) -> str:
        """Anywhere in the days that the fill has for itself."""
        first = choice % (corpus.FREE_DAYS - days)
        return f"{corpus.fill_date(first)}-{corpus.fill_date(first + days - 1)}"
