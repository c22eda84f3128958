"""A text that must not be seen: provider keys, API keys, header values."""

from __future__ import annotations

import hmac
from typing import ClassVar, Final, NoReturn, Self, SupportsIndex, final

MASK: Final = "********"
# A shorter secret shows nothing: its last four characters would be more than half of it.
SHORTEST_WITH_LAST_FOUR: Final = 8


@final
class Secret:
    """Holds a secret text and shows a mask wherever it is printed, formatted, logged or dumped.

    Only `reveal()` gives the text. The mask has one length, so it does not tell the secret's. A secret has no hash and
    no pickle, and JSON refuses it, so that it does not end up in a cache key, a queue or a response unnoticed.
    """

    __slots__ = ("__text",)

    # A hash is a fingerprint: two places that show the same one would tell that they hold the same secret.
    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            raise TypeError(f"a secret is made of text, not of {type(text).__name__}")
        object.__setattr__(self, "_Secret__text", text)

    __text: str

    def reveal(self) -> str:
        """The text itself; call it as late as possible and keep the result in no variable."""
        return self.__text

    @property
    def last_four(self) -> str:
        """The last four characters, which people compare with their provider's page; nothing of a short secret."""
        return self.__text[-4:] if len(self.__text) >= SHORTEST_WITH_LAST_FOUR else ""

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, format_spec: str) -> str:
        # A width or precision is ignored: "{:.3}" must not cut the mask into something that looks like content.
        return MASK

    def __bool__(self) -> bool:
        return bool(self.__text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self.__text), _bytes(other.__text))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a secret cannot be changed")

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("a secret cannot be pickled")

    # The default would hand out the slot's content to whoever asks for an object's state.
    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled")


def _bytes(text: str) -> bytes:
    # Lone surrogates are compared like any other character: an encoding error would carry the text in it.
    return text.encode("utf-8", "surrogatepass")
