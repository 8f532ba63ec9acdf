"""A file that a command writes for whoever called it: new, for their account alone, and there only if all goes well.

Not here: what is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from upstream_pipelines.errors import ConfigurationError, ConflictError
from upstream_pipelines.operations.archive import create_file


@contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """The file, open for writing; taken away again where what writes it fails.

    Raises:
        ConflictError: something of this name is there.
        ConfigurationError: it cannot be made or written.
    """
    try:
        file = create_file(target)
    except FileExistsError:
        raise ConflictError(f"{target} is there already. Name a new file.") from None
    except OSError as error:
        raise ConfigurationError(
            f"{target} cannot be written: {error.strerror}. Name a new file in a folder of yours."
        ) from None
    try:
        with file:
            yield file
    except OSError as error:
        target.unlink()
        raise ConfigurationError(f"{target} was not written: {error.strerror}. Nothing of it is kept.") from None
    except BaseException:
        target.unlink()
        raise
