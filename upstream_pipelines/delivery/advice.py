"""What to do when a message to a channel fails, in plain words. Pure; not here: sending.

By the kind of channel, the receiver's status and the fixed texts that the senders keep with an attempt.
"""

from __future__ import annotations

_SERVER_SIDE = "The receiver itself failed. Ask whoever runs it to look at its log, then test again."
_BY_STATUS = {
    400: "The receiver does not like the body. Ask whoever runs it which rule it breaks.",
    401: "The receiver wants other credentials. Check that it knows the channel's signing secret.",
    403: "The receiver refuses us. Check that it knows the channel's signing secret and lets this machine in.",
    404: "Nothing listens at this path. Check the URL in the customer's configuration.",
    405: "This path takes no POST. Check the URL in the customer's configuration.",
    410: "The receiver says it is gone for good; the channel was switched off. Set its new URL in the customer's "
    "configuration, or enable the channel once the receiver is back.",
    413: "The receiver takes no body of this size. Raise its limit to 1 MB.",
    429: "The receiver is asked too often. Wait a few minutes and test again.",
}  # fmt: skip
_BY_TEXT = (
    ("destination not allowed", ("The name leads to an address inside a network, which alerts may not go to. Use a public "
     "address; for a receiver on this machine set UPSTREAM_WEBHOOK_ALLOW_LOOPBACK=true.")),
    ("certificate", ("Its certificate is not trusted from here: expired, for another name, or of a private authority. Renew "
     "it there (for a mail server's private authority: UPSTREAM_SMTP_CA_FILE).")),
    ("no STARTTLS", ("Set UPSTREAM_SMTP_SECURITY=tls where the server speaks TLS from the start, and check "
     "UPSTREAM_SMTP_USERNAME.")),
    ("mail server answered 5", ("The mail server refuses. 535: check UPSTREAM_SMTP_USERNAME and UPSTREAM_SMTP_PASSWORD; 550: it "
     "does not take UPSTREAM_SMTP_FROM as a sender.")),
    ("refused for good", ("The mail server does not know one of the recipients. Correct the addresses in the customer's "
     "configuration.")),
    ("redirects are not followed", "The URL leads on to another one. Set the final address in the customer's configuration."),
    ("invalid_auth", "Slack does not take the token. Make a new one for the app and configure the channel with it."),
    ("not_authed", "Slack does not take the token. Make a new one for the app and configure the channel with it."),
    ("token_", "Slack does not take the token any more. Make a new one for the app and configure the channel with it."),
    ("not_in_channel", "Invite the app into the Slack channel (/invite), enable the channel again, then test it."),
    ("channel_not_found", "Slack knows no such channel, or the app is not in it. Check the name and invite the app."),
    ("missing_scope", "The Slack app lacks a permission. It needs chat:write, and files:write for the chart."),
    ("no_service", "The incoming webhook was removed in Slack. Make a new one and configure the channel with it."),
    ("invalid_token", "The incoming webhook was removed in Slack. Make a new one and configure the channel with it."),
    ("is_archived", "The Slack channel is archived. Name another one in the customer's configuration."),
)  # fmt: skip
_UNREACHABLE = {
    "email": "Check UPSTREAM_SMTP_HOST and UPSTREAM_SMTP_PORT, and that this machine may reach them; `upstream doctor` asks "
    "the mail server without sending.",
    "slack": "Check that this machine may reach Slack (443), directly or through the proxy in HTTPS_PROXY.",
    "webhook": "Check the URL, that its receiver runs, and that this machine may reach it.",
}


def advice_for(kind: str, status: int | None, detail: str) -> str:
    """What to do about a failed attempt.

    Args:
        kind: of the channel: email, slack, webhook.
        status: what the receiver answered, if it did.
        detail: of the attempt: a text of ours.
    """
    if "UPSTREAM_" in detail or "Configure the channel" in detail:
        return "The text above names what to set; then test again."
    for text, advice in _BY_TEXT:
        if text in detail:
            return advice
    if kind == "webhook" and status in _BY_STATUS:
        return _BY_STATUS[status]
    if status == 429:
        return _BY_STATUS[429]
    if status is not None and 500 <= status < 600 and kind != "email":
        return _SERVER_SIDE
    return _UNREACHABLE[kind]
