"""What one module logged, whatever threads of earlier tests log meanwhile."""

from __future__ import annotations

from types import ModuleType

import pytest


def said_by(module: ModuleType, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The messages of `module`'s own logger, oldest first."""
    return [record.getMessage() for record in caplog.records if record.name == module.__name__]
