"""The studies that `bench.fill_index` writes into an index: what to ask for."""

from dataclasses import dataclass

from bench import fill_index


@dataclass(frozen=True, slots=True)
class Indexed:
    """A population, see `bench.population`."""

    studies: int

    @property
    def of_name(self) -> int | None:
        """As many of each surname."""
        return fill_index.OF_A_SURNAME

    def patient_id(self, choice: int) -> str:
        """Of three studies the first is its patient's only one."""
        return fill_index.patient_id(choice % (self.studies // 3) * 3)

    def name_prefix(self, choice: int) -> str:
        """Every tenth surname is written in ASCII."""
        tenth = 10 * fill_index.OF_A_SURNAME
        family_name = fill_index.person(choice % (self.studies // tenth) * tenth).partition("^")[0]
        return f"{family_name}^*"

    def days_with(self, matches: int) -> int | None:
        """Every day has as many."""
        days, rest = divmod(matches, fill_index.OF_A_DAY)
        return days if days and not rest and matches <= self.studies else None

    def dates(self, choice: int, days: int) -> str:
        """Anywhere."""
        of_day = fill_index.OF_A_DAY
        first = choice % (self.studies // of_day - days + 1)
        ends = (
            fill_index.day(number * of_day, self.studies) for number in (first, first + days - 1)
        )
        return "-".join(ends)
