r"""Whether a pattern of files compiles where it is used: in the clients, by JavaScript's `new RegExp(pattern)`.

The grammar is that of ECMAScript without flags. What JavaScript takes as a plain letter and other dialects do not, as
`\A`, is refused: whoever writes it means something else than what clients would do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

_GROUP: Final = re.compile(r"\((?:\?(?::|<?[=!]|<(?P<name>[A-Za-z_$][\w$]*)>))?", re.ASCII)
_LOOKBEHINDS: Final = frozenset({"(?<=", "(?<!"})
_QUANTIFIER: Final = re.compile(r"(?:[*+?]|\{(?P<least>[0-9]+)(?:,(?P<most>[0-9]*))?\})\??")
# Braces with a number in them are a quantifier, even behind `\p`.
_ESCAPE: Final = re.compile(
    r"\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|c[A-Za-z]|[pP]\{(?!\d+\})[\w=]*\}|k<(?P<name>[^>]*)>|.)",
    re.DOTALL | re.ASCII,
)
_LETTERS: Final = frozenset("bBdDsSwWfnrtvcxukpP")
# Escapes that stand for many characters, so that no range can begin or end with them.
_SETS: Final = frozenset("dDsSwW")
_CHARACTERS: Final[Mapping[str, str]] = MappingProxyType(
    {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "0": "\0"}
)
_HIGHEST_COUNT: Final = 10_000


class _Refused(ValueError):
    """Why the pattern does not compile."""


def file_regex_problem(pattern: str) -> str:
    """What is wrong with a pattern of files, as a sentence; blank when clients can compile it."""
    if not pattern:
        return "It is required: without it, edit is not limited."
    try:
        _Reader(pattern).read()
    except _Refused as refused:
        return f"It does not compile as a JavaScript regular expression: {refused}."
    return ""


class _Reader:
    """Reads a pattern once, from left to right."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        # Whether a quantifier may come now, and the openings of the groups that are not closed yet.
        self.repeatable = False
        self.open: list[str] = []
        self.names: set[str] = set()
        self.referred: set[str] = set()

    def read(self) -> None:
        while self.at < len(self.pattern):
            self._read_one()
        if self.open:
            raise _Refused(f'"{self.open[-1]}" has no ")"')
        if missing := self.referred - self.names:
            raise _Refused(f'there is no group "{min(missing)[:40]}"')

    def _read_one(self) -> None:
        if (quantifier := _QUANTIFIER.match(self.pattern, self.at)) is not None:
            self._quantify(quantifier)
            return
        read: Mapping[str, Callable[[], None]] = {
            "(": self._open,
            ")": self._close,
            "[": self._class,
            "\\": self._escape,
        }
        character = self.pattern[self.at]
        if character in read:
            read[character]()
            return
        self.at += 1
        self.repeatable = character not in "^$|"

    def _quantify(self, quantifier: re.Match[str]) -> None:
        text, least, most = quantifier.group(), quantifier["least"], quantifier["most"]
        if not self.repeatable:
            raise _Refused(f'there is nothing to repeat before "{text}"')
        counts = [int(count) for count in (least, most) if count]
        if any(count > _HIGHEST_COUNT for count in counts):
            raise _Refused(f'"{text[:40]}" repeats more than {_HIGHEST_COUNT} times')
        if counts != sorted(counts):
            raise _Refused(f'the numbers in "{text}" are out of order')
        self.at = quantifier.end()
        self.repeatable = False

    def _open(self) -> None:
        found = _GROUP.match(self.pattern, self.at)
        if found is None or (found.group() == "(" and self._here("(?")):
            raise _Refused(f'there is no group "{self.pattern[self.at : self.at + 4]}"')
        if (name := found["name"]) is not None:
            if name in self.names:
                raise _Refused(f'there are two groups "{name[:40]}"')
            self.names.add(name)
        self.open.append(found.group())
        self.at = found.end()
        self.repeatable = False

    def _close(self) -> None:
        if not self.open:
            raise _Refused('")" closes nothing')
        self.at += 1
        self.repeatable = self.open.pop() not in _LOOKBEHINDS

    def _escape(self) -> None:
        found = self._escaped()
        self.repeatable = found.group() not in {r"\b", r"\B"}
        if found.group()[1] != "k":
            return
        if found["name"] is None:
            raise _Refused(r'"\k" needs the name of a group: "\k<name>"')
        self.referred.add(found["name"])

    def _escaped(self) -> re.Match[str]:
        """The escape that is here, which is then behind."""
        found = _ESCAPE.match(self.pattern, self.at)
        if found is None:
            raise _Refused("it ends with a backslash")
        letter = found.group()[1]
        if letter.isascii() and letter.isalpha() and letter not in _LETTERS:
            raise _Refused(f'JavaScript has no "\\{letter}"')
        self.at = found.end()
        return found

    def _class(self) -> None:
        """A class of characters, in which only backslashes, ranges and its end mean something."""
        begins = self.at
        self.at += 2 if self._here("[^") else 1
        while not self._here("]"):
            at = self.at
            first = self._member(begins)
            if self._here("-") and not self._here("-]"):
                self.at += 1
                last = self._member(begins)
                told = self.pattern[at : self.at]
                if first and last and first > last:
                    raise _Refused(f'the range "{told}" is out of order')
                # JavaScript sees several characters in one of these.
                if max(first, last) > "\uffff" or r"\p{" in told or r"\P{" in told:
                    raise _Refused(f'the range "{told}" is not one in JavaScript')
        self.at += 1
        self.repeatable = True

    def _here(self, text: str) -> bool:
        return self.pattern.startswith(text, self.at)

    def _member(self, begins: int) -> str:
        """One member of a class: its character, or blank for one that stands for many."""
        if self.at >= len(self.pattern):
            raise _Refused(f'"{self.pattern[begins : begins + 20]}" has no "]"')
        if not self._here("\\"):
            self.at += 1
            return self.pattern[self.at - 1]
        escape = self._escaped().group()
        kind, value = escape[1], escape[2:]
        if kind in _SETS or (kind in "pP" and value):
            return ""
        if kind in "ux" and value:
            return chr(int(value, 16))
        if kind == "c" and value:
            return chr(ord(value) % 32)
        if kind in "kc123456789" or (kind == "0" and self.pattern[self.at : self.at + 1].isdigit()):
            raise _Refused(f'"{escape}" is not a character of a class')
        return _CHARACTERS.get(kind, kind)
