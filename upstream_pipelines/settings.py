"""One typed settings object, read from the environment when asked for, never at import.

Not here: a customer's own settings (customers/configuration.py).
"""

from __future__ import annotations

from pathlib import Path

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from upstream_pipelines.errors import ConfigurationError

# As in 600/minute or 10/5minutes; without a space, so that a shell reads the line of an environment file.
_RATE = r"^[1-9][0-9]{0,8}/([1-9][0-9]{0,4})?(second|minute|hour|day)s?$"


def _default_home() -> Path:
    return Path(platformdirs.user_data_dir("upstream-pipelines", appauthor=False))


class Settings(BaseSettings):
    """Everything the platform reads from its environment; every name has the prefix `UPSTREAM_`."""

    model_config = SettingsConfigDict(env_prefix="UPSTREAM_", extra="ignore", frozen=True)

    home: Path = Field(
        default_factory=_default_home,
        description="Folder of the embedded database, the landing zone and Dagster's own files.",
    )
    database_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL to use, such as postgresql://user@host:5432/upstream. "
        "Unset: the embedded server in the home folder.",
    )
    api_database_url: SecretStr | None = Field(
        default=None,
        description="A login of its own for the HTTP API (a member of upstream_api only). "
        "Unset: the same login as UPSTREAM_DATABASE_URL, switched to the role upstream_api.",
    )
    dagster_database_name: str = Field(
        default="upstream_dagster",
        pattern=r"^[a-z_][a-z0-9_]{0,62}$",
        description="Database for Dagster's own storage, on the same server; made when missing.",
    )
    dagster_overrides: Path | None = Field(
        default=None,
        description="A YAML file whose sections replace those of dagster.yaml, such as deploy/celery/dagster.yaml.",
    )
    celery_broker_url: SecretStr | None = Field(
        default=None,
        description="Redis for runs on Celery workers, such as redis://host:6379/0; deploy/celery/dagster.yaml reads it.",
    )
    landing_zone: str | None = Field(
        default=None,
        description="Where customers' files arrive, one folder a customer: a folder or a URL that "
        "universal-pathlib reads (s3://, gs://, abfs://). Unset: landing/ in the home folder.",
    )
    landing_quiet_seconds: float = Field(
        default=10.0,
        ge=0,
        description="A file is read once its size and time stood still for this long.",
    )
    api_host: str = Field(default="127.0.0.1", description="Address the HTTP API listens on.")
    api_port: int = Field(default=8020, ge=1, le=65535, description="Port of the HTTP API.")
    ui_host: str = Field(
        default="127.0.0.1",
        description="Address of the Dagster UI. It has no login of its own: keep it on loopback, behind a proxy.",
    )
    ui_port: int = Field(default=3020, ge=1, le=65535, description="Port of the Dagster UI.")
    max_body_bytes: int = Field(
        default=10 * 1024 * 1024, ge=1024, description="Largest accepted webhook body, in bytes."
    )
    max_upload_bytes: int = Field(
        default=2 * 1024**3, ge=1024, description="Largest accepted uploaded file, in bytes."
    )
    rate_limit_storage: SecretStr | None = Field(
        default=None,
        description="Redis that counts requests where several API processes serve, such as redis://host:6379/1. "
        "Unset: each process counts its own.",
    )
    rate_limit_auth: str = Field(
        pattern=_RATE,
        default="10/5minutes",
        description="Passwords tried for one account, refreshes of one log-in: a slip or two, not a dictionary (2,880 a day "
        "at most).",
    )
    rate_limit_address: str = Field(
        pattern=_RATE,
        default="100/5minutes",
        description="Attempts to log in, and requests refused for their token, of one address: an office behind one "
        "address begins its day.",
    )
    rate_limit_read: str = Field(
        pattern=_RATE,
        default="1200/minute",
        description="Reading requests of one person or token: a page of twenty calls each second.",
    )
    rate_limit_write: str = Field(
        pattern=_RATE,
        default="120/minute",
        description="Changing requests of one person: faster than people, slower than a loop.",
    )
    rate_limit_ingest: str = Field(
        pattern=_RATE,
        default="24000/minute",
        description="Webhook batches of one token: twice the 200 a second that a large customer sends.",
    )
    rate_limit_bulk: str = Field(
        pattern=_RATE,
        default="120/minute",
        description="File uploads of one token or person, exports of one person: three years of daily files in ten minutes.",
    )
    rate_limit_report: str = Field(
        pattern=_RATE,
        default="60/hour",
        description="Reports that one person asks for; each takes a run, some five seconds of a core.",
    )
    smtp_host: str | None = Field(default=None, description="SMTP server for e-mail alerts.")
    smtp_port: int = Field(default=587, ge=1, le=65535, description="Port of the SMTP server.")
    smtp_security: str = Field(
        default="starttls",
        pattern=r"^(starttls|tls|none)$",
        description="starttls, tls, or none (accepted for a loopback host only).",
    )
    smtp_username: str | None = Field(default=None, description="SMTP login, where the server wants one.")
    smtp_password: SecretStr | None = Field(default=None, description="SMTP password.")
    smtp_from: str | None = Field(
        default=None, description="Sender address of e-mail alerts; needed with UPSTREAM_SMTP_HOST."
    )
    smtp_ca_file: Path | None = Field(
        default=None, description="CA bundle that signed the SMTP server's certificate; unset: the system's."
    )
    slack_base_url: str | None = Field(
        default=None,
        description="Base of Slack's Web API for bot tokens, where a proxy stands before it; unset: Slack's own.",
    )
    webhook_allow_loopback: bool = Field(
        default=False,
        description="Development only: let signed webhooks and Slack webhooks go to http://127.0.0.1.",
    )
    webhook_ports: tuple[int, ...] = Field(
        default=(443, 8443), description="Ports that signed webhooks may go to, as a JSON list."
    )
    webhook_ca_file: Path | None = Field(
        default=None,
        description="CA bundle for webhook receivers with a private authority; unset: the public ones.",
    )
    public_url: str | None = Field(
        default=None, description="Where people open the Dagster UI; put into alert links."
    )
    api_public_url: str | None = Field(
        default=None,
        description="Where people reach the HTTP API; put into links to reports. Unset: http://, its host and port.",
    )
    placebo_looks_a_night: int = Field(
        default=5000,
        ge=91,
        description="Looks spent each night on customers' shuffled histories, to measure false events; 91 a customer.",
    )
    metrics_token: SecretStr | None = Field(
        default=None,
        min_length=16,
        description="Bearer token that /metrics and the monitoring status ask for, 16 characters and more. Unset: they answer "
        "on loopback alone.",
    )
    operator_token: SecretStr | None = Field(
        default=None,
        min_length=32,
        description="Bearer token of the platform's operator for the API (new customers, files sent for one, product flags), 32 "
        "characters and more. Unset: the operator has the `upstream` command alone.",
    )
    otlp_endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        description="OpenTelemetry collector that gets traces by OTLP over HTTP, such as http://127.0.0.1:4318; needs the extra "
        "telemetry. Unset or empty: no traces.",
    )
    retain_files_days: int = Field(
        default=90,
        ge=0,
        description="Days that a file that was read stays in the landing zone; 0: for ever. Its lines stay in the database.",
    )
    retain_webhook_bodies_days: int = Field(
        default=30,
        ge=0,
        description="Days that a batch's body and its idempotency key stay after it was read, 7 at least; 0: for ever.",
    )
    retain_rejected_rows_days: int = Field(
        default=400,
        ge=0,
        description="Days that the numbers and reasons of rejected rows stay; 0: for ever. The counts of each upload stay.",
    )
    retain_deliveries_days: int = Field(
        default=400,
        ge=0,
        description="Days that messages and attempts stay after what they told is over, 60 at least; 0: for ever. Alerts stay.",
    )
    retain_reports_days: int = Field(
        default=400,
        ge=0,
        description="Days that the files of a report stay; 0: for ever. Who asked for it when stays.",
    )
    retain_tokens_days: int = Field(
        default=90, ge=0, description="Days that an expired or revoked token stays listed; 0: for ever."
    )
    retain_people_days: int = Field(
        default=30,
        ge=0,
        description="Days that somebody who is no member and not invited any more stays, with the password; 0: for ever.",
    )
    retain_log_ins_days: int = Field(
        default=30,
        ge=0,
        description="Days that log-ins that ended stay with their tokens, and invitations that nobody took up; 0: for ever.",
    )
    retain_run_logs_days: int = Field(
        default=30,
        ge=0,
        description="Days that the log lines of Dagster's runs stay, and runs that made no asset; 0: for ever.",
    )
    retain_asset_events_days: int = Field(
        default=400,
        ge=0,
        description="Days that materialisations and check results stay that newer ones of the partition replaced; 0: for ever.",
    )
    log_level: str = Field(
        default="INFO", pattern=r"^(DEBUG|INFO|WARNING|ERROR)$", description="Least severe record logged."
    )

    @field_validator("otlp_endpoint", mode="before")
    @classmethod
    def _empty_is_off(cls, endpoint: object) -> object:
        return endpoint or None

    @field_validator("retain_webhook_bodies_days")
    @classmethod
    def _keys_last_a_week(cls, days: int) -> int:
        # An idempotency key is promised to hold for 7 days (docs/guide); it goes with its body.
        return _none_or_at_least(days, 7)

    @field_validator("retain_deliveries_days")
    @classmethod
    def _alerts_look_back(cls, days: int) -> int:
        # Whether the same trouble was told lately is asked of the messages of 30 days, or of a rule's cooldown.
        return _none_or_at_least(days, 60)

    @property
    def landing_root(self) -> str:
        """The landing zone, as an absolute path or a URL: each process has a working folder of its own."""
        if self.landing_zone is not None and "://" in self.landing_zone:
            return self.landing_zone
        return str(Path(self.landing_zone or self.home / "landing").expanduser().resolve())

    @property
    def ui_url(self) -> str:
        """The address of the Dagster UI for links."""
        return (self.public_url or f"http://{self.ui_host}:{self.ui_port}").rstrip("/")

    @property
    def api_url(self) -> str:
        """The address of the HTTP API for links."""
        return (self.api_public_url or f"http://{self.api_host}:{self.api_port}").rstrip("/")


def _none_or_at_least(days: int, least: int) -> int:
    if 0 < days < least:
        raise ValueError(f"Must be 0 (for ever) or at least {least}")
    return days


def read_settings() -> Settings:
    """Read the settings from the environment, now.

    Raises:
        ConfigurationError: a variable has a value that cannot be used; the message names it.
    """
    try:
        return Settings()
    except ValidationError as error:
        # The input is left out on purpose: it may be a password.
        problems = "; ".join(
            f"UPSTREAM_{'_'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(f"Settings cannot be used: {problems}. Correct these variables.") from None
