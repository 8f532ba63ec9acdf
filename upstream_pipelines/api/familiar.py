"""Who logged in lately, and from where: they find a place when many strangers try passwords. Not here: the places
(customers/passwords.py), counting (rate_limits.py).

By account and address together: by the account alone, who floods the log-in could tell by the places which accounts there
are. In the memory of this process, and forgotten with it.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

# The people of a large platform; a digest and an address are some 200 bytes.
_MOST = 10_000


class LatelyLoggedIn:
    """The accounts that logged in last, each with its address; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._lock = Lock()

    def __contains__(self, who: tuple[str, str]) -> bool:
        with self._lock:
            return who in self._known

    def note(self, who: tuple[str, str]) -> None:
        """Somebody logged in: account and address."""
        with self._lock:
            self._known[who] = None
            self._known.move_to_end(who)
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
