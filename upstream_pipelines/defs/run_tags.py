"""What a run says of the uploads or reports it was asked for: the first few ids. Which it took is in the database
(upload_runs, report_runs), for others may have come since. And whose a run is, and what one without either is for. Not here: who asks for runs (sensors.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

# Dagster's own, of a run for one partition: the customer's slug.
PARTITION = "dagster/partition"
# Of a run without an upload of its own: what it is for.
NAMES_TAGS = {"upstream/names": "changed"}


def upload_tags(upload_ids: Sequence[UUID], request_ids: Sequence[str], count: int) -> Mapping[str, str]:
    """Tags with the ids of some of `count` uploads and of the requests that brought them; files of the landing zone came
    with none.
    """
    return _tags("upstream/uploads", upload_ids, request_ids, count)


def report_tags(report_ids: Sequence[UUID], request_ids: Sequence[str], count: int) -> Mapping[str, str]:
    """Tags with the ids of some of `count` reports and of the requests that asked for them; commands ask with none."""
    return _tags("upstream/reports", report_ids, request_ids, count)


def _tags(name: str, ids: Sequence[UUID], request_ids: Sequence[str], count: int) -> Mapping[str, str]:
    more = f" and {count - len(ids)} more" if count > len(ids) else ""
    tags = {name: " ".join(map(str, ids)) + more}
    return tags | ({"upstream/requests": " ".join(request_ids)} if request_ids else {})
