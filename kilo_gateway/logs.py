"""Log lines as JSON or for a console, each with the id of the request that it belongs to; never a secret."""

from __future__ import annotations

import json
import logging
import re
from contextvars import ContextVar
from datetime import UTC, datetime

from django.views.debug import SafeExceptionReporterFilter

request_id: ContextVar[str] = ContextVar("request_id", default="")

# What `logging.LogRecord` always has: everything else on a record came from `extra`.
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "request", "server_time"}

# Addresses that open something for whoever knows them: invitations, new passwords, codes of devices.
_OPENING = re.compile(r"(/invitations/|/accounts/password/reset/|/device-auth(?:/codes/|\?code=))[^\s?&#\"']+")


def _message(record: logging.LogRecord) -> str:
    return _OPENING.sub(r"\1...", record.getMessage())


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request id, and what the call passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if current := request_id.get():
            entry["request_id"] = current
        entry.update(_extra(record))
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class ConsoleFormatter(logging.Formatter):
    """For a person: time, level, logger, message, and `extra` as key=value.

    Line breaks and other control characters are escaped, as are the sequences that a terminal would obey.
    """

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S")
        message = _printable(_message(record))
        extra = "".join(f" {key}={value!r}" for key, value in _extra(record).items())
        current = request_id.get()
        line = f"{time} {record.levelname:<7} {record.name}: {message}{extra}{f' [{current}]' if current else ''}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class ReporterFilter(SafeExceptionReporterFilter):
    """Also hides connection strings, which hold passwords, from error reports and debug pages."""

    hidden_settings = re.compile(
        SafeExceptionReporterFilter.hidden_settings.pattern + r"|URL|DSN|DATABASE|CACHES|CREDENTIAL|AUTHORIZATION",
        flags=re.IGNORECASE,
    )
