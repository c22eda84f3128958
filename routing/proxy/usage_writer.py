"""Usage records on their way to the database: handed over by requests, written in batches by one thread a process.

A record is in the database within about a quarter of a second after its answer has ended, so a process that is killed
loses none that ended more than a second before. The queue is bounded; a record that does not fit is dropped, counted
and reported, because a request must not wait for its own bookkeeping.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from multiprocessing.util import Finalize
from operator import attrgetter
from typing import Any
from uuid import UUID

import psycopg

from kilo_gateway.api_errors import ErrorType
from routing.proxy import settlement
from routing.proxy.connections import borrowed_connection, drop_dead_connections, release_connection
from routing.telemetry import observe

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.25
MAX_BATCH = 1000
MAX_QUEUE = 100_000
RETRY_SECONDS = 1.0
LAST_RECORDS_SECONDS = 0.1


@dataclass(slots=True)
class Usage:
    """One usage record; the fields are the columns of `UsageRecord`, but for the last two."""

    request_id: UUID
    created_at: datetime
    organization_id: UUID | None
    user_id: UUID
    api_key_id: UUID
    api_kind: str
    requested_model: str
    auto_model: str = ""
    mode: str = ""
    route_kind: str = ""
    route: str = ""
    target: str = ""
    resolved_model: str = ""
    provider: str = ""
    is_byok: bool = False
    credential_id: UUID | None = None
    streamed: bool = False
    cancelled: bool = False
    status: int = 0
    error_type: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    hosted_cost_microdollars: int | None = None
    market_cost_microdollars: int | None = None
    time_to_first_byte_ms: int | None = None
    duration_ms: int = 0
    task_id: str = ""
    editor: str = ""
    feature: str = ""
    routing_version: int | None = None
    traceparent: str = ""
    """The client's trace, for ours to be a part of."""
    complete: Callable[[Usage], None] | None = None
    """Finds out what is still missing; called with the record by whoever writes it, once."""


_COLUMNS = [field.name for field in fields(Usage) if field.name not in {"traceparent", "complete"}]
_values = attrgetter(*_COLUMNS)
_NAMES = ", ".join(_COLUMNS)
_COPY = f"COPY routing_usagerecord ({_NAMES}) FROM STDIN"
_ROW = f"({', '.join(['%s'] * len(_COLUMNS))})"
# To the minute: a key that is used all the time is not a row that is written all the time.
_TOUCH_KEYS = """
UPDATE organizations_apikey SET last_used_at = date_trunc('minute', now())
WHERE id = ANY(%s) AND (last_used_at IS NULL OR last_used_at < date_trunc('minute', now()))
"""
_TOUCH_CREDENTIALS = """
UPDATE byok_credential SET last_used_at = date_trunc('minute', now())
WHERE id = ANY(%s) AND (last_used_at IS NULL OR last_used_at < date_trunc('minute', now()))
"""


_NOTE_REFUSALS = """
UPDATE byok_credential AS c SET last_refused_at = r.refused_at, last_refusal_status = r.status
FROM unnest(%s::uuid[], %s::timestamptz[], %s::smallint[]) AS r (id, refused_at, status)
WHERE c.id = r.id AND (c.last_refused_at IS NULL OR c.last_refused_at < r.refused_at)
"""


class UsageWriter:
    """The queue and its thread; started with the first record of a process."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Usage] = queue.SimpleQueue()
        self._start_lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._unwritten: list[Usage] = []
        self.dropped = 0

    def put(self, usage: Usage) -> None:
        """Hand a record over; returns at once."""
        if self._queue.qsize() >= MAX_QUEUE:
            self.dropped += 1
            if self.dropped % 1000 == 1:
                log.error("The usage queue is full: %d records dropped so far", self.dropped)
            return
        self._queue.put(usage)
        if self._thread is None:
            self._start()

    @property
    def depth(self) -> int:
        """How many records wait."""
        return self._queue.qsize() + len(self._unwritten)

    @property
    def keeps_up(self) -> bool:
        """Whether what waits is written with the next batch; else it should not wait with more than it needs."""
        return self._queue.qsize() < MAX_BATCH

    def flush(self) -> None:
        """Write everything handed over so far, in this thread. What comes meanwhile may wait for the next time: under
        load there is always one more, and a transaction for each would cost as much as the requests themselves.

        Raises:
            psycopg.Error: the database did not take it; the records stay queued.
        """
        with self._write_lock:
            waiting = self.depth
            while waiting > 0:
                self._take()
                waiting -= len(self._unwritten)
                self._write_batch()
            # Completing a record may have asked the database for an older catalog.
            release_connection()

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="usage-writer", daemon=True)
                self._thread.start()
                # Not `atexit`: the server's workers are forked by multiprocessing, which ends them without it.
                Finalize(None, self._finish, exitpriority=1)

    def _run(self) -> None:
        delay = FLUSH_SECONDS
        while not self._stop.wait(delay):
            try:
                self.flush()
                delay = FLUSH_SECONDS
            except Exception as error:  # noqa: BLE001 - nobody else would write what comes after
                log.warning("Usage is not written yet (%s): %d records wait", type(error).__name__, self.depth)
                delay = RETRY_SECONDS
                self._renew_connections()

    @staticmethod
    def _renew_connections() -> None:
        try:
            drop_dead_connections()
        except psycopg.Error as error:
            log.debug("The database is still away (%s)", type(error).__name__)

    def _finish(self) -> None:
        """At the end of the process: write what is left."""
        # The threads of the last answers may still be on their way here.
        time.sleep(LAST_RECORDS_SECONDS)
        self._stop.set()
        try:
            self.flush()
        except psycopg.Error as error:
            log.error("%d usage records are lost (%s)", self.depth, type(error).__name__)  # noqa: TRY400 - no secrets

    def _take(self) -> None:
        while len(self._unwritten) < MAX_BATCH:
            try:
                usage = self._queue.get_nowait()
            except queue.Empty:
                return
            self._unwritten.append(usage)
            _complete(usage)

    def _write_batch(self) -> None:
        """All of a batch or nothing of it. A batch whose commit was not confirmed may be there already: then the
        unique request id shows it, and only the records that are missing are written.
        """
        batch = self._unwritten
        with borrowed_connection() as connection:
            try:
                _write(connection, batch)
            except (psycopg.DataError, psycopg.IntegrityError, ValueError) as error:
                log.error("A batch of usage has a value that the database refuses (%s)", type(error).__name__)  # noqa: TRY400
                self.dropped += _insert_good(connection, batch)
        self._unwritten = []
        observe(batch)


def _complete(usage: Usage) -> None:
    complete, usage.complete = usage.complete, None
    if complete is None:
        return
    try:
        complete(usage)
    except Exception as error:  # noqa: BLE001 - the record is written with what is known
        failure = type(error).__name__
        log.error("What request %s took is not known (%s)", usage.request_id, failure)  # noqa: TRY400 - no client's text


def _write(connection: psycopg.Connection[Any], batch: Sequence[Usage]) -> None:
    try:
        with connection.transaction(), psycopg.Cursor(connection) as cursor:
            _copy(cursor, batch)
            _settle(cursor, batch)
    except psycopg.errors.UniqueViolation:
        with connection.transaction(), psycopg.Cursor(connection) as cursor:
            _settle(cursor, _insert_missing(cursor, batch))


def _copy(cursor: psycopg.Cursor[Any], batch: Sequence[Usage]) -> None:
    with cursor.copy(_COPY) as copy:
        for usage in batch:
            copy.write_row(_values(usage))


def _insert_missing(cursor: psycopg.Cursor[Any], batch: Sequence[Usage]) -> list[Usage]:
    """In one statement, because only within one are the rows of the roll-ups locked in the order of all writers."""
    by_id = {usage.request_id: usage for usage in reversed(batch)}
    cursor.execute(
        f"INSERT INTO routing_usagerecord ({_NAMES}) VALUES {', '.join([_ROW] * len(by_id))} "  # noqa: S608 - our names
        "ON CONFLICT (request_id) DO NOTHING RETURNING request_id",
        [value for usage in by_id.values() for value in _values(usage)],
    )
    return [by_id[request_id] for (request_id,) in cursor.fetchall()]


def _insert_good(connection: psycopg.Connection[Any], batch: Sequence[Usage]) -> int:
    """Write record by record, so that a bad one spoils no other; how many were bad."""
    bad = 0
    for usage in batch:
        try:
            with connection.transaction(), psycopg.Cursor(connection) as cursor:
                _settle(cursor, _insert_missing(cursor, [usage]))
        except (psycopg.DataError, psycopg.IntegrityError, ValueError):
            bad += 1
    return bad


def _settle(cursor: psycopg.Cursor[Any], written: Sequence[Usage]) -> None:
    """In the transaction that writes the records: note what was used when, and count what was spent."""
    keys = sorted({usage.api_key_id for usage in written})
    if keys:
        cursor.execute(_TOUCH_KEYS, (keys,))
    credentials = sorted({usage.credential_id for usage in written if usage.credential_id is not None})
    if credentials:
        cursor.execute(_TOUCH_CREDENTIALS, (credentials,))
    _note_refusals(cursor, written)
    settlement.settle(written, cursor)


def _note_refusals(cursor: psycopg.Cursor[Any], written: Sequence[Usage]) -> None:
    """What a provider last had against a credential; of several in a batch the last one counts."""
    refused = {
        usage.credential_id: usage
        for usage in sorted(written, key=attrgetter("created_at"))
        if usage.error_type == ErrorType.BYOK_ERROR and usage.credential_id is not None
    }
    if refused:
        rows = refused.values()
        cursor.execute(_NOTE_REFUSALS, (list(refused), [row.created_at for row in rows], [row.status for row in rows]))


writer = UsageWriter()
