"""What happens to people that other apps have to act upon, within the same transaction."""

from __future__ import annotations

from typing import Final

from django.dispatch import Signal

# A person has shown for the first time that his address is his (`user`, `actor`). What was stored in the account before
# may be somebody else's.
email_proven: Final = Signal()
