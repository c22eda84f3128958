"""That this server is about to stop: said by the process that supervises, read by its workers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_VARIABLE: Final = "KILO_GATEWAY_STOPPING_FILE"


@contextmanager
def stop_notice() -> Iterator[Callable[[], None]]:
    """What to call when the server is about to stop; processes that are started within the block can tell then."""
    with tempfile.TemporaryDirectory(prefix="kilo-gateway-") as folder:
        notice = Path(folder) / "stopping"
        os.environ[_VARIABLE] = str(notice)
        yield notice.touch


def is_stopping() -> bool:
    """Whether it was said; one look at the file system."""
    notice = os.environ.get(_VARIABLE)
    return notice is not None and Path(notice).exists()
