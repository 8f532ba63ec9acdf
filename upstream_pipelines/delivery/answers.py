"""What is kept of a receiver's answer: the words that answers are made of, and nothing else it may say.

A receiver can answer anything: our own signature back, a password of its own, a patient of its database. No pattern knows
all of these (a name in lower case, a token without a prefix), so that what is kept is listed, not what is removed. Not here:
what an answer means for a delivery (outcome.py).
"""

from __future__ import annotations

import re

# What is looked at: enough for any sentence of a server; what follows is a page.
_BYTES = 1024
_GAP = "\N{HORIZONTAL ELLIPSIS}"
# "invalid_payload" is two words. Numbers are not kept: the status stands beside the answer, and three digits are a part of a
# telephone number as often. But what a mail server begins with, an enhanced status code (RFC 3463, "5.1.1").
_PART = re.compile(r"[^\W_]+|[^\s\w]|_")
_MAIL_CODE = re.compile(r"\s*([245]\.[0-7]\.[0-9]{1,2})(?=\s)")
# No word that is somebody's name too (will, may, page, long).
_VOCABULARY = """
a accept acceptable accepted accepting access account action active address addresses after again all allowed already
an and any api archived are argument arguments at attempt attempts auth authenticate authenticated authentication
authorization authorized backend bad be been before below blocked body busy but by bytes can cannot certificate
channel check client closed code command conflict connect connection content could database date deactivated decode
deferred delayed denied destination detail details did directory disabled dns does domain down duplicate email empty
enabled encoding endpoint error errors event exceed exceeded exceeds exist exists expected expired failed failure
false field fields for forbidden format found from full gateway gone greylisted group handler has have header headers
hook host id ignored in inactive inbox incorrect integration internal invalid is it json key large later length limit
limited limits local mail mailbox mailboxes malformed many maximum message messages method minutes mismatch missing
moved must name network no non not nothing null object of off ok on only operation or order our out overloaded
parameter parse parsing payload permanent permanently permission permissions please policy port posting processed
processing prohibited protocol proxy queue queued quota rate read reason received recipient recipients redirect
refused reject rejected relay relaying reply request requests required resource response result retry route same
schema seconds secure sender server service signature size slow soon source space spam specified status storage stored
success successful successfully support supported syntax system team temporarily temporary terminated text that the
then there this throttled time timed timeout timestamp tls to token too transaction true try type unable unauthorized
unavailable unexpected unknown unprocessable unreachable unsupported until upstream url user users valid validation
value verification verify version wait was webhook with without workspace wrong you your
"""
_WORDS = frozenset(_VOCABULARY.split())


def known_words(answer: bytes, *, of_mail: bool = False) -> str:
    """An answer's first 1 KiB in lower case, with an ellipsis for whatever is none of the words that answers are made of.

    Quotes, brackets and the like are left out; `of_mail`: the code that it begins with stays. At most some 1,000 characters;
    empty where there was nothing.
    """
    text = answer[:_BYTES].decode("utf-8", errors="replace")
    code = _MAIL_CODE.match(text) if of_mail else None
    shown: list[str] = [code[1]] if code is not None else []
    for found in _PART.finditer(text, code.end() if code is not None else 0):
        part = found[0].casefold()
        if part in _WORDS:
            shown.append(part)
        elif part[0].isalnum():
            if not shown or shown[-1] != _GAP:
                shown.append(_GAP)
        elif part in ".,:;_-" and shown and shown[-1][-1].isalpha():
            shown[-1] += part
    return " ".join(shown).replace("_ ", "_").replace("- ", "-").strip(" ,:;_-.")
