"""Which release this is."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
# What upstreams are told, by which they may judge a client: not the third number.
USER_AGENT: Final = f"kilo-gateway/{VERSION.rpartition('.')[0]}"
