"""Bringing the catalog up to date with the hosted upstream, one process of the installation at a time."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from kilo_gateway.secret import Secret
from routing.catalog.fetch import MIB, CatalogFault, Deadline, NotFoundFault, UpstreamReader
from routing.catalog.parse import ListedModels, parse_endpoints, parse_models, parse_providers
from routing.models import CatalogSnapshot, Installation
from routing.services.health import routes_check

logger = logging.getLogger(__name__)

# The key of the advisory lock, arbitrary but ours: "kilocata" as a number.
ADVISORY_LOCK: Final = int.from_bytes(b"kilocata", "big")
MOST_BYTES: Final = 64 * MIB
MOST_BYTES_OF_DETAILS: Final = 2 * MIB
CONNECTIONS: Final = 8
# An upstream that answers none of the first few knows no endpoints; one that fails so often is left in peace.
PROBES: Final = 4
MOST_FAILURES: Final = 20
KEPT_SNAPSHOTS: Final = 10


class Outcome(StrEnum):
    """How a sync ended. Only `failed` is a fault; after `interrupted` nothing is known."""

    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    ALREADY_RUNNING = "already_running"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync did, and the same as a sentence for a person.

    Attributes:
        model_count: The models that the upstream listed and that could be read; 0 when the list could not be.
        skipped: The entries of its list that could not be used.
        with_providers: For how many of the models the serving providers are known.
    """

    outcome: Outcome
    message: str
    model_count: int = 0
    skipped: int = 0
    with_providers: int = 0

    @property
    def failed(self) -> bool:
        return self.outcome is Outcome.FAILED


@dataclass(frozen=True, slots=True)
class _Fetched:
    """What the upstream said in one sync.

    Attributes:
        endpoints: The serving providers by model id; a model of which nothing was learned is absent.
        providers: None when nothing was learned.
    """

    models: ListedModels
    endpoints: Mapping[str, list[dict[str, Any]]]
    providers: list[dict[str, Any]] | None


def sync_catalog(*, force: bool = False, deadline: Deadline | None = None) -> SyncResult:
    """Read the upstream's catalog and put it in force, or leave the current snapshot as it is and say why.

    Faults of the upstream are never raised: they are the result, kept with the installation, and logged.

    Args:
        force: Accept a catalog of fewer than half of the current models.
        deadline: Ends the reading early; by default there is as much time as the settings say.
    """
    # A lock of the transaction, because one of the session would be lost behind PgBouncer. No row is locked and nothing
    # written while the network is used; the transaction is open but holds back no clean-up of the database.
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [ADVISORY_LOCK])
            (is_mine,) = cursor.fetchone()
        if not is_mine:
            return SyncResult(Outcome.ALREADY_RUNNING, "Another process is reading the catalog already.")
        result = _sync(deadline or Deadline(settings.CATALOG_SYNC_TIMEOUT), force=force)
    if result.failed:
        logger.warning("The catalog was not updated: %s", result.message)
    elif result.outcome is Outcome.UPDATED:
        logger.info("The catalog was updated: %s", result.message)
    if result.outcome in {Outcome.UPDATED, Outcome.UNCHANGED}:
        # A model that has left the catalog breaks the routes to it, and a key that went may have done so meanwhile.
        routes_check()
    return result


def _sync(deadline: Deadline, *, force: bool) -> SyncResult:
    interrupted = SyncResult(Outcome.INTERRUPTED, "The sync was interrupted: the process stops.")
    try:
        with deadline:
            fetched = _fetch(deadline)
        return interrupted if deadline.was_interrupted else _store(fetched, force=force)
    except CatalogFault as fault:
        return interrupted if deadline.was_interrupted else _keep_current(str(fault))


def _fetch(deadline: Deadline) -> _Fetched:
    reader = UpstreamReader(
        settings.OPENROUTER_BASE_URL,
        Secret(settings.OPENROUTER_API_KEY),
        deadline,
        connect_seconds=settings.UPSTREAM_CONNECT_TIMEOUT,
        connections=CONNECTIONS,
    )
    try:
        models = parse_models(reader.get("/models", most_bytes=MOST_BYTES))
        try:
            providers = parse_providers(reader.get("/providers", most_bytes=MOST_BYTES_OF_DETAILS))
        except CatalogFault:
            providers = None
        return _Fetched(models, _EndpointsQuestion(reader, models).ask(), providers)
    finally:
        reader.close()


class _EndpointsQuestion:
    """Asks for the serving providers of every model, several at once, and stops where it is of no use.

    The threads are daemons of ours, not a pool's, so that they never hold up the end of the process.
    """

    def __init__(self, reader: UpstreamReader, models: ListedModels) -> None:
        self._reader = reader
        self._paths = [(entry["id"], path) for entry, path in zip(models.entries, models.paths, strict=True)]
        self._found: dict[str, list[dict[str, Any]]] = {}
        self._answered = 0
        self._failures = 0
        self._lock = threading.Lock()

    def ask(self) -> Mapping[str, list[dict[str, Any]]]:
        probes, rest = self._paths[:PROBES], self._paths[PROBES:]
        self._ask_all(probes)
        if not self._answered:
            return {}
        self._ask_all(rest)
        return self._found

    def _ask_all(self, paths: Iterable[tuple[str, str]]) -> None:
        waiting: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        for item in paths:
            waiting.put(item)
        threads = [
            threading.Thread(target=self._work, args=(waiting,), daemon=True, name=f"catalog-endpoints-{number}")
            for number in range(min(CONNECTIONS, waiting.qsize()))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, waiting: queue.SimpleQueue[tuple[str, str]]) -> None:
        while self._failures < MOST_FAILURES:
            try:
                model_id, path = waiting.get_nowait()
            except queue.Empty:
                return
            address = f"/models/{quote(path, safe='/:~@+')}/endpoints"
            try:
                endpoints = parse_endpoints(self._reader.get(address, most_bytes=MOST_BYTES_OF_DETAILS))
            except NotFoundFault:
                self._found[model_id] = []
            except CatalogFault:
                with self._lock:
                    self._failures += 1
            else:
                self._found[model_id] = endpoints
                with self._lock:
                    self._answered += 1


def _store(fetched: _Fetched, *, force: bool) -> SyncResult:
    """Put what was fetched in force, unless it is a suspicious loss or no change."""
    installation = Installation.objects.select_for_update().filter(pk=1).first()
    current = installation.catalog_snapshot if installation else None
    models = fetched.models
    count = len(models.entries)
    if current and not force and count * 2 < current.model_count:
        raise CatalogFault(
            f"The upstream lists {count} models, fewer than half of the {current.model_count} of the current catalog."
        )
    source = settings.OPENROUTER_BASE_URL[:200]
    predecessor = current if current and (current.origin, current.source) == (_SYNCED, source) else None
    entries = _with_endpoints(fetched, predecessor)
    providers = fetched.providers
    if providers is None:
        providers = predecessor.providers if predecessor else []
    with_providers = sum(bool(entry["endpoints"]) for entry in entries)
    found = {"model_count": count, "skipped": models.skipped, "with_providers": with_providers}
    if predecessor and (predecessor.entries, predecessor.providers) == (entries, providers):
        Installation.objects.filter(pk=1).update(catalog_checked_at=timezone.now(), catalog_error="")
        return SyncResult(Outcome.UNCHANGED, f"Nothing has changed: {_summary(**found)}.", **found)
    snapshot = CatalogSnapshot.objects.create(
        origin=_SYNCED, source=source, entries=entries, providers=providers, model_count=count
    )
    state = {"catalog_snapshot": snapshot, "catalog_checked_at": timezone.now(), "catalog_error": ""}
    Installation.objects.update_or_create(pk=1, defaults=state)
    _delete_old_snapshots()
    return SyncResult(Outcome.UPDATED, f"A new snapshot is in force: {_summary(**found)}.", **found)


_SYNCED: Final = CatalogSnapshot.Origin.SYNCED


def _with_endpoints(fetched: _Fetched, predecessor: CatalogSnapshot | None) -> list[dict[str, Any]]:
    """The entries, each with its serving providers; of which nothing was learned this time, those known before.

    A moment in which the upstream did not answer must not change which models a policy allows.
    """
    known = {entry["id"]: entry.get("endpoints", []) for entry in (predecessor.entries if predecessor else [])}
    return [
        {**entry, "endpoints": fetched.endpoints.get(entry["id"], known.get(entry["id"], []))}
        for entry in fetched.models.entries
    ]


def _summary(*, model_count: int, skipped: int, with_providers: int) -> str:
    unusable = f", {skipped} unusable entries skipped" if skipped else ""
    return f"{model_count} models, the serving providers of {with_providers} known{unusable}"


def _keep_current(reason: str) -> SyncResult:
    Installation.objects.filter(pk=1).update(catalog_error=reason)
    return SyncResult(Outcome.FAILED, reason)


def _delete_old_snapshots() -> None:
    in_force = Installation.objects.values("catalog_snapshot_id")
    kept = CatalogSnapshot.objects.order_by("-pk").values_list("pk", flat=True)[:KEPT_SNAPSHOTS]
    CatalogSnapshot.objects.exclude(pk__in=in_force).exclude(pk__in=list(kept)).only("pk").delete()
