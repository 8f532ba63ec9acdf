"""What holds for every answer: problem JSON, request ids, headers, health, the OpenAPI document, no PHI."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import psycopg
import pytest
import structlog
from pydantic import SecretStr

from upstream_pipelines.api.problems import Problem
from upstream_pipelines.errors import ConfigurationError
from upstream_pipelines.observability.logging import configure_logging
from upstream_pipelines.settings import Settings

WEBHOOK, UPLOADS = "/api/v1/ingest/webhook/", "/api/v1/uploads/"
CANARIES = ("ZEBRAFISH", "999-88-7777", "zebra@fish.example")
CANARY = " ".join(CANARIES)


@pytest.fixture
def logs(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """The product's own logging, and all it has written since the last question."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging(Settings(log_level="DEBUG"))
    for client in ("httpx", "httpcore"):  # the sender's side, in this process by chance
        logging.getLogger(client).setLevel(logging.WARNING)
    yield lambda: "".join(capsys.readouterr())
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    logging.getLogger("dagster").propagate = True
    logging.getLogger("uvicorn.access").disabled = False
    structlog.reset_defaults()


def _check_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = Problem.model_validate_json(answer.content)
    assert (body.status, body.code) == (status, code)
    assert body.request_id == answer.headers["X-Request-Id"]


def test_every_error_is_a_problem_with_a_code_and_the_request_id(
    acme: httpx.Client, anonymous: httpx.Client
) -> None:
    _check_problem(anonymous.get("/nothing"), 404, "not_found")
    _check_problem(anonymous.get("/api/v1/uploads/x/y"), 404, "not_found")
    wrong_method = anonymous.delete(WEBHOOK)
    _check_problem(wrong_method, 405, "method_not_allowed")
    assert wrong_method.headers["Allow"] == "POST"
    _check_problem(anonymous.post(WEBHOOK), 401, "unauthorized")
    _check_problem(acme.post(WEBHOOK), 415, "content_type")
    invalid = acme.get(UPLOADS + "no-uuid")
    _check_problem(invalid, 422, "invalid_request")
    assert invalid.json()["errors"] == [{"parameter": "path.upload_id", "rule": "uuid_parsing"}]


def test_no_answer_and_no_log_line_repeats_what_was_sent(
    acme: httpx.Client, anonymous: httpx.Client, logs: Callable[[], str], settings: Settings
) -> None:
    """Most likely wrong: a framework's own error, which quotes its input."""
    bodies = [
        f'{{"claims": [{{"payer": "{CANARY}"}}'.encode(),
        f'{{"claims": "{CANARY}"}}'.encode(),
        f'{{"{CANARY}": []}}'.encode(),
        f'"{CANARY}"'.encode(),
        CANARY.encode(),
        f'{{"claims": [{{"payer": "{CANARY}"}}]}}'.encode(),
    ]
    head = f'--B\r\nContent-Disposition: form-data; name="{CANARY}"; filename="{CANARY}"\r\n\r\n'.encode()
    form = {"Content-Type": "multipart/form-data; boundary=B"}
    answers = [acme.post(WEBHOOK, content=body, headers={"Content-Type": "application/json"}) for body in bodies]
    answers += [
        acme.get(UPLOADS + CANARY),
        acme.get("/nothing/" + CANARY, params={"payer": CANARY}),
        acme.request("PROPFIND", WEBHOOK + CANARY),
        acme.post(WEBHOOK, content=bodies[-1], headers={"Content-Type": CANARY}),
        acme.post(WEBHOOK, headers={"Content-Type": "application/json", "Idempotency-Key": CANARY}),
        acme.post(UPLOADS, content=head + CANARY.encode(), headers=form),
        acme.post(UPLOADS, content=CANARY.encode(), headers=form),
        acme.post(UPLOADS, content=head.replace(f'name="{CANARY}";'.encode(), b'name="file";'), headers=form),
        acme.post(UPLOADS, files={"file": (f"{CANARY}.csv", CANARY.encode())}),
        anonymous.post(WEBHOOK, headers={"Authorization": f"Bearer {CANARY}"}),
    ]
    url = settings.database_url
    assert url is not None
    with psycopg.connect(url.get_secret_value(), autocommit=True) as owner:
        owner.execute("ALTER TABLE webhook_inbox ADD CHECK (length(body) < 5) NOT VALID")
    broken = acme.post(WEBHOOK, content=bodies[-1], headers={"Content-Type": "application/json"})
    _check_problem(broken, 500, "internal_error")
    written = logs()
    assert written.count('"event": "request"') == len(answers) + 1
    assert "CheckViolation" in written
    for canary in CANARIES:
        assert canary not in written
        assert [answer.url.path for answer in [*answers, broken] if canary in answer.text] == []
        assert [answer.url.path for answer in answers if canary in str(answer.headers)] == []


def test_log_lines_carry_the_request_id_and_the_route_and_no_token(
    acme: httpx.Client, logs: Callable[[], str]
) -> None:
    acme.get(UPLOADS + "no-uuid?secret=query", headers={"X-Request-Id": "6f2c1d6e0d3a4b529c510a4f6f1d2e3b"})
    written = logs()
    (line,) = [json.loads(text) for text in written.splitlines() if '"event": "request"' in text]
    assert (line["request_id"], line["route"], line["status"]) == (
        "6f2c1d6e0d3a4b529c510a4f6f1d2e3b",
        UPLOADS + "{upload_id}",
        422,
    )
    assert acme.headers["Authorization"].removeprefix("Bearer ") not in written
    assert "secret=query" not in written


def test_a_request_id_is_taken_in_a_safe_form_only(anonymous: httpx.Client) -> None:
    for given in (str(uuid4()), uuid4().hex, "01J9ZK3T5V8QW2X4Y6A7B8C9DE"):
        assert anonymous.get("/health", headers={"X-Request-Id": given}).headers["X-Request-Id"] == given
    for given in (
        "short",
        "Zebedee.Quentin",
        "5558675309",
        "jane-doe-19700102",
        "9" * 31,
        "I" * 26,
        "x" * 65,
        "with space",
        "<script>alert</script>",
        'quote"quote',
    ):
        made = anonymous.get("/health", headers={"X-Request-Id": given}).headers["X-Request-Id"]
        assert made != given
        assert len(made) == 32


def test_every_answer_carries_the_security_headers(anonymous: httpx.Client) -> None:
    for path in ("/health", "/nothing", "/api/v1/openapi.json", "/api/v1/docs"):
        headers = anonymous.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Frame-Options"] == "DENY"
        assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_the_openapi_document_describes_what_is_there(anonymous: httpx.Client) -> None:
    document = anonymous.get("/api/v1/openapi.json").json()
    monitoring = {"/health", "/health/live", "/health/ready", "/api/v1/monitoring/status"}
    assert {WEBHOOK, UPLOADS, UPLOADS + "{upload_id}", "/api/v1/me", *monitoring} <= set(document["paths"])
    public = {*monitoring, "/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/password"}
    for path, methods in document["paths"].items():
        for operation in methods.values():
            successes = [status for status in operation["responses"] if status.startswith("2")]
            problems = [answer for status, answer in operation["responses"].items() if not status.startswith("2")]
            assert len(successes) == 1
            assert all(list(answer["content"]) == ["application/problem+json"] for answer in problems), path
            assert bool(operation.get("security")) == (path not in public), path
            assert ("429" in operation["responses"]) == (path not in monitoring), path
    assert document["components"]["securitySchemes"]["ingestion_token"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in document["components"]["schemas"]
    page = anonymous.get("/api/v1/docs")
    assert page.status_code == 200
    loaded = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
    assert len(loaded) >= 3
    for path in loaded:
        assert path.startswith("/api/v1/docs/static/"), "nothing comes from another host"
        assert anonymous.get(path).status_code == 200


def test_the_bare_address_leads_to_the_page_of_the_api(anonymous: httpx.Client) -> None:
    answer = anonymous.get("/")
    assert (answer.status_code, answer.headers["Location"]) == (307, "/api/v1/docs")
    assert anonymous.get("/", follow_redirects=True).status_code == 200
    assert "/" not in anonymous.get("/api/v1/openapi.json").json()["paths"]


def test_health_tells_whether_requests_can_be_served(
    anonymous: httpx.Client, settings: Settings, serve: Callable[[Settings], str]
) -> None:
    answer = anonymous.get("/health")
    assert (answer.status_code, answer.json()) == (
        200,
        {"status": "ok", "database": "ok", "schema_revision": "current"},
    )
    url = settings.database_url
    assert url is not None
    with psycopg.connect(url.get_secret_value(), autocommit=True) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '0000'")
        _check_problem(anonymous.get("/health"), 503, "schema_outdated")
        conn.execute("DROP TABLE alembic_version")
        _check_problem(anonymous.get("/health"), 503, "schema_outdated")
    down = "postgresql://someone:secret-word@127.0.0.1:1/upstream"
    with httpx.Client(base_url=serve(Settings(database_url=SecretStr(down))), trust_env=False) as client:
        answer = client.get("/health")
        _check_problem(answer, 503, "database_unavailable")
        assert "127.0.0.1" not in answer.text
        assert "someone" not in answer.text


def test_without_its_database_the_api_accepts_nothing(
    serve: Callable[[Settings], str], logs: Callable[[], str]
) -> None:
    down = Settings(database_url=SecretStr("postgresql://someone:secret-word@127.0.0.1:1/upstream"))
    headers = {"Authorization": "Bearer upi_" + "x" * 43, "Content-Type": "application/json"}
    with httpx.Client(base_url=serve(down), trust_env=False) as client:
        answer = client.post(WEBHOOK, content=b'{"claims": []}', headers=headers)
    _check_problem(answer, 503, "database_unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert "secret-word" not in logs()


def test_a_wrong_setting_is_the_operators_business(
    serve: Callable[[Settings], str], logs: Callable[[], str]
) -> None:
    with httpx.Client(base_url=serve(Settings(database_url=SecretStr("mysql://x"))), trust_env=False) as client:
        _check_problem(client.get("/health"), 500, "internal_error")
    assert ConfigurationError.__name__ in logs()
