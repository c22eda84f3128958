"""The Kilo CLI that this gateway is tested with, as npm names it: what people are told to install."""

from __future__ import annotations

from typing import Final

# With its platform's package of the same version. `tests/clients/package.json` and README.md name it, too.
VERSION: Final = "7.7.7"
PACKAGE: Final = f"@kilocode/cli@{VERSION}"
