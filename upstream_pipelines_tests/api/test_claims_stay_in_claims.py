"""Values of claims are in the tables of claims: not in the answers that are kept for keys, not in a report of any form.

Most likely wrong: a route that answers with what a claim holds, a table of a report that lists single lines.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx
import pypdf
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from upstream_pipelines.customers.roles import Role
from upstream_pipelines.customers.store import create_customer, get_customer
from upstream_pipelines.db.engine import Connection
from upstream_pipelines.drift.counting import refresh_activity
from upstream_pipelines.ingest.merging import merge_staged
from upstream_pipelines.ingest.staging import stage_waiting
from upstream_pipelines.ingest.uploads import send_file
from upstream_pipelines.reports.making import make_waiting
from upstream_pipelines.settings import Settings

LogIn = Callable[[str, Role], httpx.Client]
ACME = "/api/v1/customers/acme"
# By the column that brings it. A payer of one line is a claim's, too.
CANARIES = {
    "claim_id": "CLM77345519", "payer": "Zyzzyva Mutual", "cpt": "J7734", "denial_reason_text": "call Quentina at home",
    "authorization_number": "AUTH5512930", "diagnosis_codes": "Z9931207", "provider_npi": "1993120774",
    "facility": "Quentin Ward 7", "patient": "Xylander, Ottilie", "born": "1931-02-27", "ssn": "772-34-7734",
}  # fmt: skip
FILE_NAME = "Vexelberg_Ambrosius"
REJECTED = "Patient SSN 772-43-1931"
ALL = (*CANARIES.values(), FILE_NAME, REJECTED, "772-43-1931", "Vexelberg", "Quentin", "Zyzzyva", "Xylander")


@pytest.fixture(scope="module")
def template(fill_template: Callable[[Callable[[Connection, Settings], None]], str]) -> str:
    """Acme with twelve lines of one payer, one that has a canary in each column, and one rejected for its payer."""

    def load(conn: Connection, settings: Settings) -> None:
        customer, _ = create_customer(conn, "acme", "Acme")
        columns = (*CANARIES, "submitted_date", "decided_date", "outcome", "allowed_amount", "denial_reason_code")
        plain = dict.fromkeys(CANARIES, "") | {"payer": "Aetna", "cpt": "99213"}
        days = {"submitted_date": "2026-05-01", "decided_date": "2026-05-10", "outcome": "DENIED",
                "allowed_amount": "0", "denial_reason_code": "CO-16"}  # fmt: skip
        rows = [plain | {"claim_id": f"A{number}"} for number in range(12)]
        rows += [CANARIES, CANARIES | {"claim_id": "CLM2", "payer": REJECTED}]
        settings.home.mkdir(parents=True)
        file = settings.home / f"{FILE_NAME}.csv"
        lines = [",".join(f'"{(row | days)[column]}"' for column in columns) for row in rows]
        file.write_text("\n".join([",".join(columns), *lines, ""]))
        send_file(conn, settings, customer, file)
        stage_waiting(conn, settings, customer, source="csv", run_id="1")
        merge_staged(conn, settings, customer, "1")
        refresh_activity(conn, customer.customer_id)
        conn.execute("UPDATE uploads SET received_at = '2026-05-20'")

    return fill_template(load)


def _found(text: str) -> list[str]:
    """Canaries in a text, also where it is broken or its blanks are others."""
    told = "".join(text.casefold().split())
    return [canary for canary in ALL if "".join(canary.casefold().split()) in told]


def test_no_answer_that_is_kept_and_no_file_of_a_report_holds_a_value_of_a_claim(
    log_in: LogIn, pipeline: Connection
) -> None:
    stored = pipeline.execute(
        "SELECT (SELECT string_agg(c::text, ' ') FROM claims AS c) || (SELECT string_agg(r::text, ' ') FROM rejected_rows AS r)"
    ).fetchone()
    assert stored is not None
    names = {
        "claim_id",
        "payer",
        "cpt",
        "denial_reason_text",
        "authorization_number",
        "diagnosis_codes",
        "facility",
    }
    assert {name for name in names if CANARIES[name] not in stored[0]} == set(), "they did come in"
    assert "phi_in_payer" in stored[0]

    admin = log_in("acme", Role.ADMIN)
    aliases, groups = (admin.get(f"{ACME}/{part}").json()["revision"] for part in ("payer-aliases", "cpt-groups"))
    tomorrow = (datetime.now(UTC).date() + timedelta(days=1)).isoformat()
    asked = [
        ("POST", "reports", {"from": "2026-05-01", "until": "2026-06-01"}),
        ("PUT", "payer-aliases", {"revision": aliases, "payer_aliases": {"Aetna Inc": "Aetna"}}),
        ("POST", "silences", {"payer": "Aetna", "hours": 2}),
        ("POST", "drift/labels", {"label": "code set", "first_day": tomorrow, "last_day": tomorrow}),
        ("POST", "tokens", {"label": "practice"}),
        ("PUT", "cpt-groups", {"revision": groups, "cpt_groups": {"99213": "Visits"}}),
        ("POST", "members", {"email": "new@example.org", "role": "viewer"}),
        ("POST", "channels", {"name": "hook", "url": "https://example.org/hook"}),
        ("POST", "alert-rules", {"name": "denials", "signals": ["denial_rate"]}),
    ]
    for number, (method, path, body) in enumerate(asked):
        answer = admin.request(
            method, f"{ACME}/{path}", json=body, headers={"Idempotency-Key": f"{ALL[0]}-{number}"}
        )
        assert answer.is_success, answer.text
    row = ",".join(CANARIES.values())
    sent = admin.post(
        f"{ACME}/uploads", files={"file": (f"{FILE_NAME}.csv", f"{','.join(CANARIES)}\n{row}\n")},
        headers={"Idempotency-Key": "a-file"},
    )  # fmt: skip
    assert sent.status_code == 202, sent.text
    for canary in ALL:
        refused = admin.post(
            f"{ACME}/silences",
            json={"payer": "Aetna", "hours": canary},
            headers={"Idempotency-Key": re.sub(r"\W", "", canary)},
        )
        assert refused.status_code == 422
    kept = pipeline.execute("SELECT count(*), string_agg(k::text, ' ') FROM kept_answers AS k").fetchone()
    assert kept is not None
    assert kept[0] == len(asked) + 1
    assert _found(kept[1]) == []

    (made,) = make_waiting(pipeline, get_customer(pipeline, "acme"), "run")
    assert made.trouble is None
    files = dict(pipeline.execute("SELECT format, content FROM report_files").fetchall())
    pdf = pypdf.PdfReader(io.BytesIO(files["pdf"]))
    with zipfile.ZipFile(io.BytesIO(files["xlsx"])) as book:
        sheets = " ".join(book.read(name).decode() for name in book.namelist())
    texts = {
        "html": files["html"].decode(), "csv": files["csv"].decode(), "xlsx": sheets,
        "pdf": " ".join([*(page.extract_text() for page in pdf.pages), str(pdf.metadata)]),
    }  # fmt: skip
    assert set(texts) == set(files)
    for form, text in texts.items():
        assert "Aetna" in text, form
        assert _found(text) == [], form


def test_the_framework_makes_no_spans_of_its_own(
    serve: Callable[[Settings], str], settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They hold arguments of requests and messages of errors, and go to whatever collector the environment names."""
    made = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(made))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    with httpx.Client(base_url=serve(settings), trust_env=False) as client:
        assert client.get("/health/live").status_code == 200
        assert client.post("/api/v1/auth/login", json={"email": CANARIES["patient"]}).status_code == 422
    assert made.get_finished_spans() == ()
