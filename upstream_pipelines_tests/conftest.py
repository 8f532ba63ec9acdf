"""Fixtures that every suite shares: a real PostgreSQL, a migrated database of one's own, clean settings.

If PostgreSQL does not start, everything that asks for it fails; nothing is skipped.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import hypothesis
import psycopg
import pytest
from filelock import FileLock
from pydantic import SecretStr
from sqlalchemy.engine import URL

from upstream_pipelines.db import embedded
from upstream_pipelines.db.engine import Connection, connect, dispose_engines
from upstream_pipelines.db.migrate import migrate
from upstream_pipelines.demo.generator import as_known_on, synthetic_claims
from upstream_pipelines.settings import Settings

_TEMPLATE = "template_migrated"

# The same examples in each run: what fails belongs to the change it came with. `make fuzz` looks for others.
hypothesis.settings.register_profile("suite", derandomize=True)
hypothesis.settings.register_profile("fuzz", derandomize=False)  # hypothesis' own does not where CI is set
hypothesis.settings.load_profile("fuzz" if "UPSTREAM_FUZZ_EXAMPLES" in os.environ else "suite")


# By how long their files take. A long file that is begun last leaves the other worker without work.
_BEGIN_WITH = ("orchestration", "database", "faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first; within a folder, and within a file, the order stays."""
    folders = {folder: number for number, folder in enumerate(_BEGIN_WITH)}
    items.sort(key=lambda item: folders.get(item.path.parent.name, len(folders)))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("UPSTREAM_", "DAGSTER_")) and name != "UPSTREAM_REAL_DATA":
            monkeypatch.delenv(name)
    # Goes into the details of an operator's acts.
    monkeypatch.delenv("SUDO_USER", raising=False)


@pytest.fixture(scope="session")
def server_url(testrun_uid: str) -> Iterator[URL]:
    """A PostgreSQL for the whole run, shared by all workers, with a migrated template database.

    Not in pytest's folder: pytest closes that to other accounts at each start, and as root the server runs
    under another account.
    """
    shared = Path(tempfile.gettempdir()) / f"upstream-tests-{testrun_uid}"
    home = shared / "server"
    url = embedded.join(home)
    _do_not_wait_for_the_disk(url)
    with FileLock(shared / "template.lock"), psycopg.connect(_text(url), autocommit=True) as conn:
        if not conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_TEMPLATE,)).fetchone():
            conn.execute("CREATE DATABASE building")
            building = url.set(database="building")
            migrate(Settings(home=home, database_url=SecretStr(_text(building))))
            dispose_engines()
            conn.execute("ALTER DATABASE building RENAME TO template_migrated")
    yield url
    embedded.leave(home)
    if embedded.postmaster_pid(home) is None:
        shutil.rmtree(shared, ignore_errors=True)


def _do_not_wait_for_the_disk(url: URL) -> None:
    """A commit is still written before it is answered, so a SIGKILL shows what it shows; only a power cut would not be
    survived. Databases that come and go with each test made the suite wait for the disk most of the time. Tests that
    kill PostgreSQL have servers of their own, set as they are in production.
    """
    with psycopg.connect(_text(url), autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET fsync = off")
        conn.execute("ALTER SYSTEM SET full_page_writes = off")
        conn.execute("SELECT pg_reload_conf()")


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


@pytest.fixture(scope="module")
def template() -> str:
    """The database that those of the tests are clones of. A module whose tests all begin with the same claims overrides it
    with one that has them (`fill_template`): loading takes ten times as long as most of the tests.
    """
    return _TEMPLATE


@pytest.fixture(scope="module")
def fill_template(
    server_url: URL, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[Callable[[Connection, Settings], None]], str]]:
    """Make a template that a function has filled; it gets a connection as upstream_pipeline. Returns: its name."""
    made: list[str] = []
    with psycopg.connect(_text(server_url), autocommit=True) as admin:

        def fill(load: Callable[[Connection, Settings], None]) -> str:
            name = f"template_{uuid.uuid4().hex}"
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
            made.append(name)
            url = server_url.set(database=name)
            home = tmp_path_factory.mktemp("template") / "home"
            filling = Settings(home=home, database_url=SecretStr(_text(url)), landing_quiet_seconds=0)
            with connect(filling, "upstream_pipeline") as conn:
                load(conn, filling)
            dispose_engines()
            # Else an autovacuum begins anew in each clone, and a template that one is at cannot be cloned.
            with psycopg.connect(_text(url), autocommit=True) as owner:
                owner.execute("VACUUM ANALYZE")
            return name

        yield fill
        for name in made:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(server_url: URL, template: str) -> Iterator[URL]:
    """A database of this test's own, cloned from the migrated template; dropped at the end."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(_text(server_url), autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        yield server_url.set(database=name)
        dispose_engines()
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(database_url: URL, tmp_path: Path) -> Settings:
    """Settings with a home folder and a migrated database of this test's own."""
    return Settings(home=tmp_path / "home", database_url=SecretStr(_text(database_url)), landing_quiet_seconds=0)


@pytest.fixture
def pipeline(settings: Settings) -> Iterator[Connection]:
    """A connection as upstream_pipeline (sees all customers)."""
    with connect(settings, "upstream_pipeline") as conn:
        yield conn


@pytest.fixture
def real_claims() -> Callable[[], bytes]:
    """5,515 real-shaped lines where UPSTREAM_REAL_DATA names the folder, else as many of the demo's generator."""

    def read() -> bytes:
        folder = os.environ.get("UPSTREAM_REAL_DATA")
        if folder:
            return (Path(folder) / "rcm_analytics" / "claims_flat.csv").read_bytes()
        claims = synthetic_claims(5, date(2026, 6, 1), 40)
        return as_known_on(claims, date(2026, 6, 1)).head(5515).to_csv(index=False).encode()

    return read


def _remittance(
    *claims: str,
    payer: str = "AETNA",
    production: str = "20260203",
    payment: str = "20260205",
    control: str = "000000001",
    separators: str = "*:~",
    between: str = "",
    segments: int | None = None,
) -> bytes:
    """An 835 of one transaction. claims: segments from CLP on, written with `*`, `:` and `~` whatever the separators."""
    body = [
        "ST*835*0001",
        f"BPR*I*100*C*ACH*CCP*01*111*DA*33*1234567890**01*111*DA*22*{payment}",
        "TRN*1*12345*1234567890",
        f"DTM*405*{production}",
        f"N1*PR*{payer}",
        "N1*PE*CLINIC*XX*1234567893",
        "LX*1",
        *(part for claim in claims for part in claim.split("~") if part),
    ]
    end = f"SE*{segments or len(body) + 1}*0001"
    isa = f"ISA*00*{'':10}*00*{'':10}*ZZ*{'SENDER':15}*ZZ*{'RECEIVER':15}*260203*0330*^*00501*{control}*0*P*:"
    envelope = [isa, f"GS*HP*SENDER*RECEIVER*{production}*0330*1*X*005010X221A1", *body, end, "GE*1*1",
                f"IEA*1*{control}"]  # fmt: skip
    element, component, terminator = tuple(separators)
    swap = str.maketrans("*:", element + component)
    return "".join(part.translate(swap) + terminator + between for part in envelope).encode()


@pytest.fixture(scope="session")
def remittance() -> Callable[..., bytes]:
    """Builds an 835 from its claims' segments; see `_remittance`."""
    return _remittance
