"""The release toggle: whether a person may set Organization Auto up yet.

Asked when configuration is written and when its controls are shown, never while a model request is served: what is
configured keeps routing whatever the toggle says. With PostHog the toggle is the feature flag
`organization-auto-model-routing`, evaluated for the acting person; without, `ORGANIZATION_AUTO_ROLLOUT` decides.
A PostHog that does not answer counts as off.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

import requests
from django.conf import settings

from kilo_gateway import metrics
from kilo_gateway.api_errors import ErrorType, GatewayError
from organizations.models import Organization, User

if TYPE_CHECKING:
    from posthog.flag_definition_cache import FlagDefinitionCacheData

log = logging.getLogger(__name__)

FLAG: Final = "organization-auto-model-routing"
ANSWER_LIMIT_SECONDS: Final = 1.0
REMEMBERED_SECONDS: Final = 30.0
# After a failure PostHog is left alone for so long, so that a dead one does not cost every page its second.
PAUSE_SECONDS: Final = 5.0
MOST_REMEMBERED: Final = 4096
MOST_CALLS_AT_ONCE: Final = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ToggleState:
    """Whether the person may set Organization Auto up, and why; the reason is for operators and holds no secret."""

    on: bool
    reason: str


_ON: Final = ToggleState(on=True, reason="the flag is on for this person")
_OFF: Final = ToggleState(on=False, reason="the flag is off for this person")
_ABSENT: Final = ToggleState(on=False, reason="PostHog has no such flag in this project")


def release_toggle(user: User, organization: Organization) -> ToggleState:
    """The toggle for a person who acts for an organization.

    It never raises, and waits for PostHog for a second at most (two, where a definition alone does not say).
    """
    if settings.DEBUG:
        return ToggleState(on=True, reason="DEBUG is on")
    if not settings.POSTHOG_API_KEY:
        rollout = settings.ORGANIZATION_AUTO_ROLLOUT
        return ToggleState(on=rollout == "on", reason=f"ORGANIZATION_AUTO_ROLLOUT is {rollout}")
    with _making:
        flag = _posthog_flag(settings.POSTHOG_API_KEY, settings.POSTHOG_PERSONAL_API_KEY, settings.POSTHOG_HOST)
    return flag.state(_Subject(str(user.pk), user.email, str(organization.pk)))


def require_release_toggle(user: User, organization: Organization) -> None:
    """Refuse to set anything up while the toggle is off.

    Raises:
        GatewayError: 403 with the code `release_toggle_off`.
    """
    if not release_toggle(user, organization).on:
        raise GatewayError(
            ErrorType.ACCESS_DENIED,
            403,
            "Organization Auto cannot be set up by you at the moment: it has not been released to you. "
            "What is set up already keeps working.",
            code="release_toggle_off",
        )


@dataclass(frozen=True, slots=True)
class _Subject:
    """For whom the flag is evaluated: all that PostHog is ever told about anybody."""

    user_id: str
    email: str
    organization_id: str

    @property
    def properties(self) -> dict[str, Any]:
        return {"email": self.email, "organization": self.organization_id}

    @property
    def groups(self) -> dict[str, str | int]:
        return {"organization": self.organization_id}


class _Unanswered(Exception):
    """PostHog gave no answer that can be used; the text says in our own words what happened."""


class _UnusableError(Exception):
    """An answer came, but not in the form that PostHog documents."""


class _LibraryLog(logging.Filter):
    """Keeps the library's own lines out of the log: they quote addresses and answers, in which a key can stand.

    What it swallowed on a thread can be asked for, because the library tells of a failure nowhere else.
    """

    def __init__(self) -> None:
        super().__init__()
        self._swallowed = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1] is not None:
            self._swallowed.error = record.exc_info[1]
        return False

    def last_error(self) -> BaseException | None:
        """The latest failure that the library swallowed on this thread."""
        error: BaseException | None = getattr(self._swallowed, "error", None)
        return error


class _NoTokens(logging.Filter):
    """Drops a line about an address with a token in it, such as urllib3 writes for each retry."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "token=" not in record.getMessage()


_library_log: Final = _LibraryLog()
logging.getLogger("posthog").addFilter(_library_log)
for _name in ("urllib3.connectionpool", "urllib3.util.retry"):
    logging.getLogger(_name).addFilter(_NoTokens())


class _Answers:
    """The latest answers, each for `REMEMBERED_SECONDS`; the oldest go when there are too many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: OrderedDict[_Subject, tuple[float, ToggleState]] = OrderedDict()

    def get(self, subject: _Subject) -> ToggleState | None:
        with self._lock:
            until, state = self._states.get(subject, (0.0, None))
        return state if monotonic() < until else None

    def put(self, subject: _Subject, state: ToggleState) -> None:
        with self._lock:
            self._states[subject] = (monotonic() + REMEMBERED_SECONDS, state)
            self._states.move_to_end(subject)
            while len(self._states) > MOST_REMEMBERED:
                self._states.popitem(last=False)


class _Definitions:
    """The definitions as the library's client takes them: its `FlagDefinitionCacheProvider`.

    The client's own loading waits ten seconds, says nothing of a failure, and keeps what it has for as long as PostHog
    is away. A toggle that fails closed has to know how old its definitions are, so they are fetched here.
    """

    def __init__(self) -> None:
        self.fetched: FlagDefinitionCacheData | None = None
        self.fresh_until = 0.0

    def should_fetch_flag_definitions(self) -> bool:
        return False

    def get_flag_definitions(self) -> FlagDefinitionCacheData | None:
        return self.fetched

    def on_flag_definitions_received(self, data: FlagDefinitionCacheData) -> None:
        """Not called: the client never fetches."""

    def shutdown(self) -> None:
        """Nothing is held."""


class _PostHogFlag:
    """The flag in one PostHog project, with what is remembered of its answers.

    With a personal key the flag's definition is fetched, at most every `REMEMBERED_SECONDS` and only when somebody
    asks, and evaluated here; what it needs that only PostHog knows (a static cohort, say) is asked remotely. Nothing
    but these two requests is ever sent: no event is captured, and no thread waits for any.
    """

    def __init__(self, api_key: str, personal_api_key: str, host: str) -> None:
        # Only here: an installation without PostHog need not load its library.
        from posthog import Posthog

        self._api_key = api_key
        self._personal_api_key = personal_api_key
        self._answers = _Answers()
        self._definitions = _Definitions()
        self._refreshing = threading.Lock()
        self._calls = threading.BoundedSemaphore(MOST_CALLS_AT_ONCE)
        self._pause: tuple[float, str] = (0.0, "")
        self._client = Posthog(
            api_key,
            host=host,
            secret_key=personal_api_key or None,
            send=False,
            sync_mode=True,
            disable_geoip=True,
            enable_local_evaluation=False,
            flag_definition_cache_provider=self._definitions,
            feature_flags_request_timeout_seconds=ANSWER_LIMIT_SECONDS,
            feature_flags_request_max_retries=0,
        )

    def state(self, subject: _Subject) -> ToggleState:
        """The flag for this person and organization; off when PostHog cannot be asked."""
        try:
            if self._personal_api_key:
                self._refresh_definitions()
                local = self._evaluated_here(subject)
                if local is not None:
                    return local
            remembered = self._answers.get(subject)
            if remembered is None:
                remembered = self._call(lambda: self._evaluated_there(subject))
                self._answers.put(subject, remembered)
        except _Unanswered as unanswered:
            return ToggleState(on=False, reason=str(unanswered))
        return remembered

    def _evaluated_here(self, subject: _Subject) -> ToggleState | None:
        evaluation = self._client.evaluate_flags(
            subject.user_id,
            groups=subject.groups,
            person_properties=subject.properties,
            only_evaluate_locally=True,
            disable_geoip=True,
            flag_keys=[FLAG],
        )
        value = evaluation.get_flag(FLAG, send_feature_flag_events=False)
        if value is None:
            return None
        return _ON if value else _OFF

    def _evaluated_there(self, subject: _Subject) -> ToggleState:
        answer = self._client.get_flags_decision(
            subject.user_id,
            groups=subject.groups,
            person_properties=subject.properties,
            disable_geoip=True,
            flag_keys_to_evaluate=[FLAG],
        )
        flag = answer["flags"].get(FLAG)
        if flag is not None:
            return _ON if flag.enabled else _OFF
        # The library answers with no flags after a failure too; only a real answer says whether all were computed.
        if answer.get("errorsWhileComputingFlags") is not False:
            raise _library_log.last_error() or _UnusableError
        return _ABSENT

    def _refresh_definitions(self) -> None:
        """Fetch the definitions when they are old; whoever comes meanwhile waits for the one fetch."""
        with self._refreshing:
            if monotonic() < self._definitions.fresh_until:
                return
            self._definitions.fetched = self._call(self._fetched_definitions)
            self._client.load_feature_flags()  # type: ignore[no-untyped-call]  # the library leaves it untyped
            self._definitions.fresh_until = monotonic() + REMEMBERED_SECONDS

    def _fetched_definitions(self) -> FlagDefinitionCacheData:
        from posthog.request import get

        address = f"/flags/definitions?token={quote(self._api_key, safe='')}&send_cohorts"
        data = get(self._personal_api_key, address, self._client.host, timeout=ANSWER_LIMIT_SECONDS).data
        if not _are_definitions(data):
            raise _UnusableError
        definitions: FlagDefinitionCacheData = data
        return definitions

    def _call(self, ask: Callable[[], T]) -> T:
        """What PostHog answers, within the limit; after a failure it is not asked for `PAUSE_SECONDS`."""
        paused_until, reason = self._pause
        if monotonic() < paused_until:
            raise _Unanswered(reason)
        try:
            return _within_limit(ask, self._calls)
        except Exception as error:  # noqa: BLE001 - whatever it is, the toggle is off and the reason is told
            reason = _explained(error)
        self._pause = (monotonic() + PAUSE_SECONDS, reason)
        metrics.count(metrics.Event.TOGGLE_FAILURES)
        log.warning('%s, so the release toggle "%s" counts as off', reason, FLAG)
        raise _Unanswered(reason)


# The cache alone would let two first requests make two, each with a memory of its own.
_making: Final = threading.Lock()


@lru_cache(maxsize=1)
def _posthog_flag(api_key: str, personal_api_key: str, host: str) -> _PostHogFlag:
    return _PostHogFlag(api_key, personal_api_key, host)


def forget_release_toggle() -> None:
    """Forget every answer and failure; for tests."""
    _posthog_flag.cache_clear()


def _within_limit(ask: Callable[[], T], calls: threading.BoundedSemaphore) -> T:
    """The result of a call over the network, or `TimeoutError` after `ANSWER_LIMIT_SECONDS`.

    A thread of its own, because the limit of an HTTP request holds for each step only: a name that resolves slowly or
    an answer that comes byte by byte lasts longer. The semaphore bounds how many such threads can be left behind.
    """
    deadline = monotonic() + ANSWER_LIMIT_SECONDS
    if not calls.acquire(timeout=ANSWER_LIMIT_SECONDS):
        raise TimeoutError
    outcome: Future[T] = Future()

    def run() -> None:
        try:
            outcome.set_result(ask())
        except BaseException as error:  # noqa: BLE001 - handed to the caller, which is another thread
            outcome.set_exception(error)
        finally:
            calls.release()

    try:
        threading.Thread(target=run, name="release-toggle", daemon=True).start()
    except RuntimeError:  # the machine has no thread left
        calls.release()
        raise
    return outcome.result(timeout=max(0.0, deadline - monotonic()))


def _are_definitions(data: Any) -> bool:
    return (
        isinstance(data, dict)
        and isinstance(data.get("flags"), list)
        and all(isinstance(flag, dict) and isinstance(flag.get("key"), str) for flag in data["flags"])
        and isinstance(data.get("group_type_mapping"), dict)
        and isinstance(data.get("cohorts"), dict)
    )


def _explained(error: Exception) -> str:
    """A failure in words of ours: the library's own may quote the address or the answer."""
    from posthog.request import APIError, QuotaLimitError

    match error:
        case TimeoutError() | requests.Timeout():
            return f"PostHog did not answer within {ANSWER_LIMIT_SECONDS:g} s"
        case requests.ConnectionError():
            return "The connection to PostHog failed"
        case QuotaLimitError():
            return "PostHog's quota for feature flags is used up"
        case APIError():
            return f"PostHog answered with status {error.status}"
        case _:
            return f"PostHog's answer cannot be used ({type(error).__name__})"
