"""Reading settings from the environment, each as `NAME` or, for secrets, from the file that `NAME_FILE` names.

A value that is missing or malformed raises `SettingError`, whose text is one line that names the variable and says
what it should be. The text of a secret never appears in it.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import getaddresses
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import unquote, urlsplit

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off", ""})

# What an `EMAIL_URL` begins with, and the usual port: encrypted from a command on, from the start, and not at all.
MAIL_PORTS = {"smtp": 587, "smtps": 465, "smtp+plain": 25}

# How a process ends that has said which setting is wrong (EX_CONFIG of sysexits.h).
MISCONFIGURED = 78

# What may stand in `ALLOWED_HOSTS`, of which a name with a dot in front stands for all names below it as well.
_HOST = re.compile(r"\*|\.?[a-z0-9-]+(\.[a-z0-9-]+)*|\[[0-9a-f:.]+\]", re.IGNORECASE)
_DOMAIN = re.compile(r"[^\s@/:*.]+(\.[^\s@/:*.]+)*")
_EMAIL_ADDRESS = re.compile(r"[^\s@<>()\",;:\\\[\]]+@[^\s@<>()\",;:\\]+")

Network = IPv4Network | IPv6Network


class SettingError(Exception):
    """A setting is missing or malformed; the message names it."""


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mails are handed in, and as whom."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    is_ssl: bool
    is_starttls: bool


class Environment:
    """Typed access to environment variables; unset and blank are the same."""

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = os.environ if variables is None else variables

    def text(self, name: str, default: str = "") -> str:
        """The value of `NAME`, or the stripped content of the file named by `NAME_FILE`."""
        value = self._variables.get(name, "").strip()
        file_name = self._variables.get(f"{name}_FILE", "").strip()
        if value and file_name:
            raise SettingError(f"{name} and {name}_FILE are both set; keep one of them.")
        if file_name:
            try:
                value = Path(file_name).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SettingError(f"{name}_FILE cannot be read: {type(error).__name__}.") from None
        return value or default

    def flag(self, name: str, *, default: bool) -> bool:
        """A switch: 1/true/yes/on or 0/false/no/off."""
        value = self.text(name, "on" if default else "off").lower()
        if value in TRUE:
            return True
        if value in FALSE:
            return False
        raise SettingError(f"{name} must be 1 or 0.")

    def integer(self, name: str, default: int, *, minimum: int = 0, maximum: int | None = None) -> int:
        """A whole number of at least `minimum` and at most `maximum`."""
        value = self.text(name, str(default))
        try:
            number = int(value)
        except ValueError:
            raise SettingError(f"{name} must be a whole number.") from None
        if number < minimum:
            raise SettingError(f"{name} must be at least {minimum}.")
        if maximum is not None and number > maximum:
            raise SettingError(f"{name} must be at most {maximum}.")
        return number

    def seconds(self, name: str, default: float) -> float:
        """A positive duration in seconds."""
        value = self.text(name, str(default))
        try:
            number = float(value)
        except ValueError:
            raise SettingError(f"{name} must be a number of seconds.") from None
        if not 0 < number < 86_400:
            raise SettingError(f"{name} must be more than 0 and less than 86400 seconds.")
        return number

    def limit_seconds(self, name: str, default: float) -> float:
        """A duration in seconds, or 0 for no limit."""
        return 0.0 if self.text(name) in {"0", "0.0"} else self.seconds(name, default)

    def origins(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A comma-separated list of origins, such as https://gateway.example.com or https://*.example.com."""
        origins = self.words(name, default)
        for origin in origins:
            scheme, separator, host = origin.partition("://")
            if scheme not in {"http", "https"} or not separator or not host or set(host) & set("/?#@ "):
                raise SettingError(f"{name} must list origins such as https://gateway.example.com, without a path.")
        return origins

    def hosts(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A comma-separated list of host names, without a scheme and a port."""
        hosts = self.words(name, default)
        if self.text(name) and not (hosts and all(_HOST.fullmatch(host) for host in hosts)):
            raise SettingError(f"{name} must list host names such as gateway.example.com, without a scheme or a port.")
        return hosts

    def domains(self, name: str) -> frozenset[str]:
        """A comma-separated list of the domains of email addresses, in small letters."""
        domains = frozenset(word.lower() for word in self.words(name))
        if not all(_DOMAIN.fullmatch(domain) for domain in domains):
            raise SettingError(f"{name} must list domains such as example.com, without an @ or a *.")
        return domains

    def words(self, name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        """A comma-separated list."""
        value = self.text(name)
        return tuple(word.strip() for word in value.split(",") if word.strip()) if value else default

    def networks(self, name: str) -> tuple[Network, ...]:
        """A comma-separated list of IP addresses and networks such as 10.0.0.0/8."""
        try:
            return tuple(ip_network(word, strict=False) for word in self.words(name))
        except ValueError:
            raise SettingError(f"{name} must list IP addresses or networks such as 10.0.0.0/8.") from None

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        """One of a closed set of words."""
        value = self.text(name, default).lower()
        if value not in choices:
            raise SettingError(f"{name} must be one of: {', '.join(choices)}.")
        return value

    def url(self, name: str, default: str = "") -> str:
        """An http(s) address without a trailing slash, user info, query or fragment."""
        value = self.text(name, default).rstrip("/")
        if not value:
            return ""
        try:
            parts = urlsplit(value)
            valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            valid = False
        # Looked for in the text itself: the parser drops line breaks, and an empty query.
        if not valid or not value.isprintable() or set(value) & set(" \\?#@"):
            raise SettingError(f"{name} must be an address such as https://gateway.example.com (no user, query or #).")
        return value

    def redis(self, name: str) -> str:
        """The address of a Redis, which may hold a password; blank for none."""
        value = self.text(name)
        if not value:
            return ""
        try:
            parts = urlsplit(value)
            database = parts.path.strip("/")
            valid = bool(parts.hostname) and parts.port != 0 and (not database or database.isdecimal())
        except ValueError:
            valid = False
        if not valid or parts.scheme not in {"redis", "rediss"}:
            raise SettingError(f"{name} must look like redis://:password@host:6379/0, or rediss:// for TLS.")
        return value

    def sender(self, name: str, default: str) -> str:
        """From whom mails are: an email address, or a name and the address in angle brackets."""
        value = self.text(name)
        if not value:
            return default
        addresses = [address for _, address in getaddresses([value])]
        if len(addresses) != 1 or not _EMAIL_ADDRESS.fullmatch(addresses[0]) or not value.isprintable():
            raise SettingError(f"{name} must be an address such as Kilo Gateway <no-reply@example.com>.")
        return value

    def mail(self, name: str) -> MailServer | None:
        """The address of a mail server; None for `console://`, which prints mails instead of sending them."""
        value = self.text(name, "console://")
        problem = f"{name} must be an address such as smtp://user:password@mail.example.com:587, or console://."
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError:
            raise SettingError(problem) from None
        if parts.scheme == "console" and not parts.netloc:
            return None
        has_more = parts.path not in {"", "/"} or parts.query or parts.fragment
        if parts.scheme not in MAIL_PORTS or not parts.hostname or port == 0 or has_more or not value.isprintable():
            raise SettingError(problem)
        return MailServer(
            host=parts.hostname,
            port=port or MAIL_PORTS[parts.scheme],
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            is_ssl=parts.scheme == "smtps",
            is_starttls=parts.scheme == "smtp",
        )


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """The secret kept at `path`, made on first use and readable by this user only.

    For an installation on one machine that was given no secret: generated once, so that it is neither a known default
    nor another one after each start. Two processes that start together end up with the same secret.

    Raises:
        SettingError: it cannot be kept there, or what is there cannot be read.
    """
    try:
        if not path.exists():
            _keep(path, make)
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        problem = type(error).__name__
        raise SettingError(f"DATA_DIR must be a directory that can hold {path.name}: {problem}.") from None


def _keep(path: Path, make: Callable[[], str]) -> None:
    """Written beside its place and linked into it: whoever finds it there finds all of it, and the first one stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(make())
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
