"""The placebo in the database: measuring a customer, and the rate that is published beside its results.

Every night reshuffles the same history, so the measurements of 90 days depend on each other: a dozen of them tell more
of what the detector does on these weeks, and nothing of other weeks. The rate is over all looks; its interval is that
of no more days than the history has.

Not here: the measurement itself (placebo.py), whose turn it is at night (defs/placebo_check.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from upstream_pipelines.db.engine import Connection
from upstream_pipelines.db.queries import load_queries
from upstream_pipelines.drift.placebo import Placebo, placebo
from upstream_pipelines.drift.reading import read_activity
from upstream_pipelines.drift.settings import METHOD_VERSION, DriftSettings
from upstream_pipelines.drift.store import every_event

QUERIES = load_queries(__package__)
PUBLISHED_DAYS = 90
LOOKS = 91  # daily looks a measurement: a quarter of a year, and a dozen of them in the days published
NIGHTS = 7  # within which every customer is measured
YEAR = 365.25


@dataclass(frozen=True)
class FalseEventRate:
    """False events a year on reshuffles of a customer's one history, days that alarmed left out.

    `days`: distinct days of history measured. `low` and `high`: a 95 % interval, the Poisson one of a rate counted on
    as many days as were looked at, and on no more than `days`: nights beyond these look at the same days again.
    """

    events: int
    looks: int
    measurements: int
    days: int
    per_year: float | None
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """For people; says so where there is nothing to say."""
        if self.per_year is None:
            return (
                "not measured: less than a year of history that is decided"
                if self.measurements
                else "not measured yet"
            )
        return (
            f"{self.per_year:.1f} a year, of all payers and signals together (95 %: {self.low:.1f} to {self.high:.1f}), "
            f"{self.looks:,} daily looks at reshuffles of one history of {self.days:,} days, without those that alarmed; "
            "how sure one event is stands with it"
        )


def measure(
    conn: Connection, customer_id: int, settings: DriftSettings, measured_on: date, looks: int = LOOKS
) -> Placebo:
    """Measure a customer and keep the result; a second measurement of the same day replaces the first."""
    # Another order of weeks each time, and the same one if the same night is made again.
    seed = measured_on.toordinal() * 1_000_003 + customer_id
    result = placebo(
        read_activity(conn, customer_id), settings, seed, looks, until=measured_on,
        events=every_event(conn, customer_id),
    )  # fmt: skip
    conn.execute(
        QUERIES.upsert_placebo,
        {
            "customer_id": customer_id, "measured_on": measured_on, "seed": seed, "method_version": METHOD_VERSION,
            "looks": result.looks, "days": result.days, "events": result.events,
        },
    )  # fmt: skip
    return result


def published_rate(conn: Connection, customer_id: int, as_of: date) -> FalseEventRate:
    """The rate over the measurements of the 90 days up to `as_of`, made with the present method."""
    values = {
        "customer_id": customer_id, "since": as_of - timedelta(days=PUBLISHED_DAYS), "until": as_of,
        "method_version": METHOD_VERSION,
    }  # fmt: skip
    row = conn.execute(QUERIES.sum_placebo, values).fetchone()
    assert row is not None
    events, looks, measurements, days = (int(value) for value in row)
    if not looks:
        return FalseEventRate(events, looks, measurements, days, None, None, None)
    exposure = min(looks, days)
    low, high = poisson_interval(events * exposure / looks)
    years = exposure / YEAR
    return FalseEventRate(events, looks, measurements, days, events * YEAR / looks, low / years, high / years)


def poisson_interval(events: float) -> tuple[float, float]:
    """The exact 95 % interval of a Poisson mean of which `events` were counted; between whole counts it goes on."""
    from scipy.stats import chi2

    low = float(chi2.ppf(0.025, 2 * events)) / 2 if events else 0.0
    return low, float(chi2.ppf(0.975, 2 * events + 2)) / 2


def due_customers(conn: Connection, night: date, budget: int) -> list[tuple[int, str]]:
    """Whose turn it is on a night: a seventh of the active customers, by a stable hash, and those overdue.

    Longest unmeasured first, and no more than `budget` looks pay for; with too small a budget a round takes longer
    than a week, and nobody is left out for good.
    """
    values = {
        "night": night,
        "nights": NIGHTS,
        "turn": night.toordinal() % NIGHTS,
        "limit": max(budget // LOOKS, 1),
    }
    return [
        (int(customer_id), str(slug)) for customer_id, slug in conn.execute(QUERIES.select_placebo_due, values)
    ]
