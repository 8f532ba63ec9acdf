"""What a run says of the uploads it was asked for: the first few ids. Which uploads it took is in the database
(upload_runs), for others may have come since. Not here: who asks for runs (sensors.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID


def upload_tags(upload_ids: Sequence[UUID], request_ids: Sequence[str], count: int) -> Mapping[str, str]:
    """Tags with the ids of some of `count` uploads and of the requests that brought them; files of the landing zone came
    with none.
    """
    more = f" and {count - len(upload_ids)} more" if count > len(upload_ids) else ""
    tags = {"upstream/uploads": " ".join(map(str, upload_ids)) + more}
    return tags | ({"upstream/requests": " ".join(request_ids)} if request_ids else {})
