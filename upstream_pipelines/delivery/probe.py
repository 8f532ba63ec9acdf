"""Whether the settings can send at all, asked without sending. Not here: sending."""

from __future__ import annotations

import smtplib

from upstream_pipelines.delivery.deadline import Breaker, DeadlineError, within
from upstream_pipelines.delivery.email import TURN_SECONDS, check_set_up, close_connection, open_connection
from upstream_pipelines.delivery.outcome import NotSetUpError
from upstream_pipelines.settings import Settings


def check_smtp(settings: Settings) -> str:
    """Connect to the mail server, encrypt and log in as an alert would, and send nothing.

    Returns: what works, in words.

    Raises:
        NotSetUpError: what does not, and which setting to look at.
    """
    check_set_up(settings)
    where = f"{settings.smtp_host}:{settings.smtp_port}"

    def connect(breaker: Breaker) -> None:
        close_connection(open_connection(settings, breaker))

    try:
        within(TURN_SECONDS, connect)
    except DeadlineError:
        raise NotSetUpError(
            f"The mail server {where} does not answer. Check UPSTREAM_SMTP_HOST and UPSTREAM_SMTP_PORT."
        ) from None
    except ConnectionRefusedError:
        raise NotSetUpError(
            f"Nothing listens at {where}. Start the mail server, or check UPSTREAM_SMTP_HOST and UPSTREAM_SMTP_PORT."
        ) from None
    except (smtplib.SMTPException, OSError) as error:
        raise NotSetUpError(
            f"The mail server {where} cannot be used ({type(error).__name__}). Check UPSTREAM_SMTP_SECURITY, "
            "UPSTREAM_SMTP_CA_FILE, UPSTREAM_SMTP_USERNAME and UPSTREAM_SMTP_PASSWORD."
        ) from error
    return f"{where} answers ({settings.smtp_security})"
