"""What a hosted request took whose upstream did not tell: an estimate, so that it is not for nothing.

It stands in for what is missing only. No part of it is read from a conversation but its size.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from routing.domain.cost import TokenCounts

# Of text and code as they mostly are.
BYTES_PER_TOKEN: Final = 4
# An image or another file in the body: what it takes has little to do with its bytes.
TOKENS_PER_FILE: Final = 1600
_FILE: Final = re.compile(rb"[A-Za-z0-9+/=_-]{1024,}+")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a request is expected to take, before anything of its answer is known.

    Attributes:
        input_tokens: About as many.
        most_output_tokens: As many as its answer can have.
    """

    input_tokens: int
    most_output_tokens: int


def estimated_input(body: bytes, context_length: int | None) -> int:
    """About how many tokens a body is: one for four bytes, 1,600 for each file; never more than the model takes."""
    text_bytes, files = len(body), 0
    if b"base64" in body:
        found = _FILE.findall(body)
        text_bytes, files = text_bytes - sum(map(len, found)), len(found)
    tokens = _tokens(text_bytes) + files * TOKENS_PER_FILE
    return min(tokens, context_length or tokens)


def with_estimates(told: TokenCounts, expected: Expected, text_bytes: int, *, was_left: bool = False) -> TokenCounts:
    """The counts with an estimate for each that matters and was not told.

    Where there is no sign that a model has worked nothing is estimated: an upstream that answers without a word and
    without counting its output has most likely failed.

    Args:
        text_bytes: Of the output that has come since the upstream last told how much there is.
        was_left: The client did not wait for the end.
    """
    if told.output is None and not text_bytes and not was_left:
        return told
    written = min(_tokens(text_bytes), expected.most_output_tokens)
    return replace(
        told,
        input=expected.input_tokens if told.input is None else told.input,
        output=(told.output or 0) + written,
    )


def _tokens(text_bytes: int) -> int:
    return -(-text_bytes // BYTES_PER_TOKEN)
