"""The release toggle against a real server that answers as PostHog does."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kilo_gateway.api_errors import GatewayError
from kilo_gateway.logs import JsonFormatter
from organizations import release_toggle as module
from organizations.models import Organization, User
from organizations.release_toggle import (
    FLAG,
    ToggleState,
    forget_release_toggle,
    release_toggle,
    require_release_toggle,
)
from tests.support.logs import said_by
from tests.support.posthog_server import (
    Answer,
    PostHogServer,
    as_json,
    byte_by_byte,
    definition,
    definitions_answer,
    flags_answer,
    posthog_server,
)

PROJECT_KEY = "phc_canary-project-key-7f3a"
PERSONAL_KEY = "phx_canary-personal-key-91bd"
ON = flags_answer({FLAG: True})
# The limit is one second; a busy machine gets some more before a test calls it broken.
GENEROUS_SECONDS = 2.5


@dataclass
class Clock:
    """The time as the toggle sees it: real, but for what a test adds."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead

    def advance(self, seconds: float) -> None:
        self.ahead += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


@pytest.fixture
def alice() -> User:
    return User(email="alice@acme.example")


@pytest.fixture
def bob() -> User:
    return User(email="bob@acme.example")


@pytest.fixture
def acme() -> Organization:
    return Organization(name="Acme")


@pytest.fixture
def posthog(settings: Any) -> Iterator[PostHogServer]:
    """PostHog, configured with the project's key alone."""
    with posthog_server() as server:
        settings.POSTHOG_API_KEY = PROJECT_KEY
        settings.POSTHOG_PERSONAL_API_KEY = ""
        settings.POSTHOG_HOST = server.base_url
        yield server


@pytest.fixture
def local_posthog(posthog: PostHogServer, settings: Any) -> PostHogServer:
    """PostHog, configured with a personal key too."""
    settings.POSTHOG_PERSONAL_API_KEY = PERSONAL_KEY
    return posthog


@pytest.fixture(autouse=True)
def _fresh_toggle() -> Iterator[None]:
    """Each test begins with nothing remembered, and leaves no thread of the library's behind."""
    forget_release_toggle()
    yield
    forget_release_toggle()
    assert not [thread for thread in threading.enumerate() if type(thread).__module__.startswith("posthog")]


class Written(logging.Handler):
    """The log as the installation writes it, with what was passed as `extra` and with every traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(JsonFormatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture(autouse=True)
def written(caplog: pytest.LogCaptureFixture) -> Iterator[Written]:
    """Whatever a test does, and however much is logged: the keys stand in no line."""
    for name in (None, "urllib3", "posthog"):
        caplog.set_level(logging.DEBUG, logger=name)
    handler = Written()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
    assert not [line for line in handler.lines if PROJECT_KEY in line or PERSONAL_KEY in line]


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---------------------------------------------------------------- without PostHog


@pytest.mark.parametrize(("rollout", "on"), [("on", True), ("off", False)])
def test_the_rollout_setting_decides_without_posthog(
    rollout: str, on: bool, settings: Any, alice: User, acme: Organization
) -> None:
    settings.POSTHOG_API_KEY = ""
    settings.ORGANIZATION_AUTO_ROLLOUT = rollout

    assert release_toggle(alice, acme) == ToggleState(on=on, reason=f"ORGANIZATION_AUTO_ROLLOUT is {rollout}")


def test_debug_is_on_and_asks_nobody(posthog: PostHogServer, settings: Any, alice: User, acme: Organization) -> None:
    settings.DEBUG = True
    settings.ORGANIZATION_AUTO_ROLLOUT = "off"

    assert release_toggle(alice, acme) == ToggleState(on=True, reason="DEBUG is on")
    assert posthog.requests == []


def test_an_installation_without_posthog_does_not_load_its_library() -> None:
    script = (
        "import django, sys; from django.conf import settings; django.setup()\n"
        "from organizations.models import Organization, User\n"
        "from organizations.release_toggle import release_toggle\n"
        "settings.DEBUG = False; assert release_toggle(User(), Organization()).on\n"
        "assert 'posthog' not in sys.modules\n"
    )
    run = run_python(script)

    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("variables", "line"),
    [
        ({"ORGANIZATION_AUTO_ROLLOUT": "maybe"}, "ORGANIZATION_AUTO_ROLLOUT must be one of: on, off."),
        ({"POSTHOG_PERSONAL_API_KEY": PERSONAL_KEY}, "POSTHOG_API_KEY is missing"),
    ],
)
def test_a_malformed_setting_stops_the_start(variables: dict[str, str], line: str) -> None:
    run = run_python("import kilo_gateway.settings", **variables)

    assert run.returncode != 0
    assert line in run.stderr
    assert PERSONAL_KEY not in run.stderr


def run_python(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    ours = ("POSTHOG", "ORGANIZATION_AUTO")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {"DJANGO_SETTINGS_MODULE": "kilo_gateway.settings", **variables}
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=root, capture_output=True, text=True, check=False
    )


# ---------------------------------------------------------------- one call


@pytest.mark.parametrize("typed", [True, False], ids=["typed values", "older server"])
@pytest.mark.parametrize(("value", "on"), [(True, True), (False, False), ("first-wave", True)])
def test_it_follows_the_flag(
    *, value: bool | str, on: bool, typed: bool, posthog: PostHogServer, alice: User, acme: Organization
) -> None:
    posthog.on_flags = lambda _: as_json(flags_answer({FLAG: value, "another-flag": not value}, typed=typed))

    state = release_toggle(alice, acme)

    assert state == ToggleState(on=on, reason=f"the flag is {'on' if on else 'off'} for this person")


def test_it_asks_for_the_acting_person_and_tells_no_more(
    posthog: PostHogServer, alice: User, acme: Organization
) -> None:
    release_toggle(alice, acme)

    [request] = posthog.requests
    assert (request.method, request.path) == ("POST", "/flags/")
    assert request.body.pop("sent_at")
    assert request.body == {
        "api_key": PROJECT_KEY,
        "distinct_id": str(alice.pk),
        "person_properties": {"email": "alice@acme.example", "organization": str(acme.pk)},
        "groups": {"organization": str(acme.pk)},
        "group_properties": {},
        "geoip_disable": True,
        "device_id": None,
        "flag_keys_to_evaluate": [FLAG],
    }


def test_an_absent_flag_is_off_and_says_so(posthog: PostHogServer, alice: User, acme: Organization) -> None:
    posthog.on_flags = lambda _: as_json(flags_answer({"another-flag": True}))

    assert release_toggle(alice, acme) == ToggleState(on=False, reason="PostHog has no such flag in this project")


def test_nothing_but_the_flag_is_ever_sent(
    posthog: PostHogServer, alice: User, bob: User, acme: Organization, clock: Clock
) -> None:
    posthog.on_flags = lambda _: as_json(ON)
    for person in (alice, bob, alice):
        release_toggle(person, acme)
        clock.advance(31)
    time.sleep(0.3)

    assert posthog.paths == ["/flags/"] * 3


# ---------------------------------------------------------------- remembering


def test_an_answer_is_remembered_for_30_seconds(
    posthog: PostHogServer, alice: User, acme: Organization, clock: Clock
) -> None:
    posthog.on_flags = lambda _: as_json(ON)
    assert release_toggle(alice, acme).on
    posthog.on_flags = lambda _: as_json(flags_answer({FLAG: False}))

    clock.advance(28)
    assert release_toggle(alice, acme).on
    assert len(posthog.requests) == 1
    clock.advance(2.1)
    assert not release_toggle(alice, acme).on
    assert len(posthog.requests) == 2


def test_off_is_remembered_too(posthog: PostHogServer, alice: User, acme: Organization) -> None:
    for _ in range(3):
        assert not release_toggle(alice, acme).on
    assert len(posthog.requests) == 1


def test_what_is_remembered_is_of_one_person_in_one_organization(
    posthog: PostHogServer, alice: User, bob: User, acme: Organization
) -> None:
    globex = Organization(name="Globex")

    def for_alice_in_acme(request: Any) -> Answer:
        body = request.body
        on = body["distinct_id"] == str(alice.pk) and body["groups"] == {"organization": str(acme.pk)}
        return as_json(flags_answer({FLAG: on}))

    posthog.on_flags = for_alice_in_acme
    for _ in range(2):
        assert release_toggle(alice, acme).on
        assert not release_toggle(alice, globex).on
        assert not release_toggle(bob, acme).on
    assert len(posthog.requests) == 3


def test_only_so_many_answers_are_remembered(
    posthog: PostHogServer, acme: Organization, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_REMEMBERED", 3)
    people = [User(email=f"person{number}@acme.example") for number in range(4)]
    for person in people:
        release_toggle(person, acme)

    release_toggle(people[-1], acme)
    assert len(posthog.requests) == 4
    release_toggle(people[0], acme)
    assert len(posthog.requests) == 5


# ---------------------------------------------------------------- PostHog that fails


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(as_json({"detail": PROJECT_KEY}, status=500), "PostHog answered with status 500", id="500"),
        pytest.param(as_json({"detail": PROJECT_KEY}, status=502), "PostHog answered with status 502", id="502"),
        pytest.param(as_json({"detail": PROJECT_KEY}, status=401), "PostHog answered with status 401", id="401"),
        pytest.param(
            Answer(pieces=(b"<html>" + PROJECT_KEY.encode(),)), "PostHog's answer cannot be used", id="garbage"
        ),
        pytest.param(as_json({}), "PostHog's answer cannot be used", id="empty object"),
        pytest.param(as_json([]), "PostHog's answer cannot be used", id="list"),
        pytest.param(as_json({"flags": PROJECT_KEY}), "PostHog's answer cannot be used", id="no records"),
        pytest.param(as_json(flags_answer({}, errors=True)), "PostHog's answer cannot be used", id="not computed"),
        pytest.param(
            as_json({**ON, "quotaLimited": ["feature_flags"]}),
            "PostHog's quota for feature flags is used up",
            id="quota",
        ),
        pytest.param(Answer(hang_up=True), "The connection to PostHog failed", id="closed socket"),
    ],
)
def test_a_broken_posthog_is_off(
    *,
    answer: Answer,
    reason: str,
    posthog: PostHogServer,
    alice: User,
    acme: Organization,
    caplog: pytest.LogCaptureFixture,
) -> None:
    posthog.on_flags = lambda _: answer

    state = release_toggle(alice, acme)

    assert not state.on
    assert state.reason.startswith(reason)
    assert [record.levelname for record in caplog.records if state.reason in record.getMessage()] == ["WARNING"]
    assert not [record for record in caplog.records if record.name == "posthog"]
    assert len(posthog.requests) == 1


@pytest.mark.parametrize(
    "record", [{"key": FLAG, "value": ["yes"]}, {"key": FLAG, "value": True, "failed": True}, ["yes"]]
)
def test_a_flag_that_cannot_be_read_is_off(
    record: Any, posthog: PostHogServer, alice: User, acme: Organization
) -> None:
    posthog.on_flags = lambda _: as_json({**ON, "flags": {FLAG: record}})

    assert not release_toggle(alice, acme).on


def test_nobody_listening_is_off(
    posthog: PostHogServer, settings: Any, alice: User, acme: Organization, caplog: pytest.LogCaptureFixture
) -> None:
    settings.POSTHOG_HOST = f"http://127.0.0.1:{unused_port()}"

    assert release_toggle(alice, acme) == ToggleState(on=False, reason="The connection to PostHog failed")
    assert "The connection to PostHog failed" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(as_json(ON, pause_seconds=3), id="slow"),
        pytest.param(byte_by_byte(ON, pause_seconds=0.2), id="byte by byte"),
    ],
)
def test_a_slow_on_is_off(answer: Answer, posthog: PostHogServer, alice: User, acme: Organization) -> None:
    posthog.on_flags = lambda _: answer
    start = time.monotonic()

    state = release_toggle(alice, acme)

    assert state == ToggleState(on=False, reason="PostHog did not answer within 1 s")
    assert time.monotonic() - start < GENEROUS_SECONDS


def test_a_failure_is_remembered_for_a_moment_and_for_everybody(
    *,
    posthog: PostHogServer,
    alice: User,
    bob: User,
    acme: Organization,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    posthog.on_flags = lambda _: as_json({}, status=500)
    for person in (alice, bob, alice):
        assert release_toggle(person, acme).reason == "PostHog answered with status 500"
    assert len(posthog.requests) == 1
    assert len(said_by(module, caplog)) == 1

    posthog.on_flags = lambda _: as_json(ON)
    clock.advance(5.1)
    assert release_toggle(bob, acme).on
    assert len(posthog.requests) == 2


def test_what_is_remembered_outlives_a_failure_but_not_its_time(
    posthog: PostHogServer, alice: User, bob: User, acme: Organization, clock: Clock
) -> None:
    posthog.on_flags = lambda _: as_json(ON)
    assert release_toggle(alice, acme).on
    posthog.on_flags = lambda _: as_json({}, status=500)

    assert not release_toggle(bob, acme).on
    assert release_toggle(alice, acme).on
    clock.advance(31)
    assert not release_toggle(alice, acme).on


def test_calls_that_hang_are_bounded(posthog: PostHogServer, acme: Organization) -> None:
    posthog.on_flags = lambda _: byte_by_byte(ON, pause_seconds=0.2)
    people = [User(email=f"person{number}@acme.example") for number in range(3 * module.MOST_CALLS_AT_ONCE)]
    start = time.monotonic()

    with ThreadPoolExecutor(len(people)) as pool:
        states = list(pool.map(lambda person: release_toggle(person, acme), people))

    assert not any(state.on for state in states)
    assert time.monotonic() - start < GENEROUS_SECONDS
    assert len(posthog.requests) <= module.MOST_CALLS_AT_ONCE


# ---------------------------------------------------------------- local evaluation


def by_email(*emails: str) -> dict[str, Any]:
    condition = {"key": "email", "type": "person", "operator": "exact", "value": list(emails)}
    return {"properties": [condition], "rollout_percentage": 100}


def serve_definitions(server: PostHogServer, *flags: dict[str, Any]) -> None:
    server.on_definitions = lambda _: as_json(definitions_answer(*flags))


def test_a_flag_is_evaluated_here_by_email(
    local_posthog: PostHogServer, alice: User, bob: User, acme: Organization
) -> None:
    serve_definitions(local_posthog, definition(FLAG, by_email("alice@acme.example")), definition("another-flag"))

    assert release_toggle(alice, acme) == ToggleState(on=True, reason="the flag is on for this person")
    assert release_toggle(bob, acme) == ToggleState(on=False, reason="the flag is off for this person")
    [request] = local_posthog.requests
    assert (request.method, request.path) == ("GET", "/flags/definitions")
    assert request.query == {"token": [PROJECT_KEY], "send_cohorts": [""]}
    assert request.authorization == f"Bearer {PERSONAL_KEY}"


def test_a_flag_is_evaluated_here_by_organization(
    local_posthog: PostHogServer, alice: User, acme: Organization
) -> None:
    condition = {"key": "organization", "type": "person", "operator": "exact", "value": [str(acme.pk)]}
    serve_definitions(local_posthog, definition(FLAG, {"properties": [condition], "rollout_percentage": 100}))

    assert release_toggle(alice, acme).on
    assert not release_toggle(alice, Organization(name="Globex")).on
    assert local_posthog.paths == ["/flags/definitions"]


def test_a_flag_of_the_organization_as_a_group_is_evaluated_here(
    local_posthog: PostHogServer, alice: User, acme: Organization
) -> None:
    filters = {
        "aggregation_group_type_index": 0,
        "groups": [{"properties": [], "rollout_percentage": 100}],
        "payloads": {},
        "multivariate": None,
    }
    serve_definitions(local_posthog, definition(FLAG, filters=filters))

    assert release_toggle(alice, acme).on
    assert local_posthog.paths == ["/flags/definitions"]


def test_an_inactive_flag_is_off(local_posthog: PostHogServer, alice: User, acme: Organization) -> None:
    serve_definitions(local_posthog, definition(FLAG, active=False))

    assert not release_toggle(alice, acme).on


def test_definitions_are_fetched_every_30_seconds_at_most(
    local_posthog: PostHogServer, alice: User, acme: Organization, clock: Clock
) -> None:
    serve_definitions(local_posthog, definition(FLAG, by_email("alice@acme.example")))
    assert release_toggle(alice, acme).on
    serve_definitions(local_posthog, definition(FLAG, by_email("nobody@acme.example")))

    clock.advance(28)
    assert release_toggle(alice, acme).on
    assert len(local_posthog.requests) == 1
    clock.advance(2.1)
    assert not release_toggle(alice, acme).on
    assert len(local_posthog.requests) == 2


def test_definitions_are_fetched_once_for_all_who_wait(local_posthog: PostHogServer, acme: Organization) -> None:
    answer = as_json(definitions_answer(definition(FLAG)), pause_seconds=0.2)
    local_posthog.on_definitions = lambda _: answer
    people = [User(email=f"person{number}@acme.example") for number in range(8)]

    with ThreadPoolExecutor(len(people)) as pool:
        states = list(pool.map(lambda person: release_toggle(person, acme), people))

    assert all(state.on for state in states)
    assert local_posthog.paths == ["/flags/definitions"]


@pytest.mark.parametrize(
    "flag",
    [
        pytest.param(
            definition(
                FLAG, {"properties": [{"key": "plan", "type": "person", "operator": "exact", "value": ["enterprise"]}]}
            ),
            id="a property that only PostHog knows",
        ),
        pytest.param(definition(FLAG, ensure_experience_continuity=True), id="experience continuity"),
        pytest.param(definition(FLAG, filters={"groups": [{"properties": "?"}]}), id="not understood"),
        pytest.param(definition("another-flag"), id="made after the fetch"),
    ],
)
def test_what_cannot_be_evaluated_here_is_asked_and_remembered(
    flag: dict[str, Any], local_posthog: PostHogServer, alice: User, acme: Organization
) -> None:
    serve_definitions(local_posthog, flag)
    local_posthog.on_flags = lambda _: as_json(ON)

    assert release_toggle(alice, acme).on
    assert release_toggle(alice, acme).on
    assert local_posthog.paths == ["/flags/definitions", "/flags/"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(as_json({"detail": PERSONAL_KEY}, status=401), "PostHog answered with status 401", id="401"),
        pytest.param(as_json({"detail": "quota"}, status=402), "PostHog answered with status 402", id="402"),
        pytest.param(as_json({"detail": PERSONAL_KEY}, status=500), "PostHog answered with status 500", id="500"),
        pytest.param(Answer(pieces=(b"<html>",)), "PostHog's answer cannot be used", id="garbage"),
        pytest.param(as_json({"flags": [definition(FLAG)]}), "PostHog's answer cannot be used", id="half"),
        pytest.param(
            as_json({**definitions_answer(), "flags": [FLAG]}), "PostHog's answer cannot be used", id="wrong shape"
        ),
        pytest.param(Answer(hang_up=True), "The connection to PostHog failed", id="closed socket"),
        pytest.param(
            as_json(definitions_answer(definition(FLAG)), pause_seconds=3),
            "PostHog did not answer within 1 s",
            id="slow",
        ),
    ],
)
def test_definitions_that_cannot_be_fetched_are_off(
    *,
    answer: Answer,
    reason: str,
    local_posthog: PostHogServer,
    alice: User,
    acme: Organization,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also when there are older ones: a flag that was turned off meanwhile must not stay on here."""
    serve_definitions(local_posthog, definition(FLAG))
    local_posthog.on_flags = lambda _: as_json(ON)
    assert release_toggle(alice, acme).on
    local_posthog.on_definitions = lambda _: answer
    clock.advance(31)
    start = time.monotonic()

    states = [release_toggle(alice, acme) for _ in range(3)]

    assert time.monotonic() - start < GENEROUS_SECONDS
    assert not any(state.on for state in states)
    assert states[0].reason.startswith(reason)
    assert local_posthog.paths == ["/flags/definitions"] * 2
    assert [record.levelname for record in caplog.records if states[0].reason in record.getMessage()] == ["WARNING"]

    serve_definitions(local_posthog, definition(FLAG))
    clock.advance(5.1)
    assert release_toggle(alice, acme).on


def test_urllib3_does_not_log_the_key_when_it_retries(
    local_posthog: PostHogServer, settings: Any, alice: User, acme: Organization, written: Written
) -> None:
    # With https the library has urllib3 retry, which logs each address with the project's key in it.
    settings.POSTHOG_HOST = f"https://127.0.0.1:{unused_port()}"

    assert not release_toggle(alice, acme).on
    assert sum("Starting new HTTPS connection" in line for line in written.lines) > 1


# ---------------------------------------------------------------- refusing


def test_a_write_is_refused_while_the_toggle_is_off(posthog: PostHogServer, alice: User, acme: Organization) -> None:
    with pytest.raises(GatewayError) as refusal:
        require_release_toggle(alice, acme)

    error = refusal.value
    assert (error.status, error.error_type, error.code) == (403, "access_denied", "release_toggle_off")
    assert "PostHog" not in error.message


def test_a_write_is_let_through_while_it_is_on(posthog: PostHogServer, alice: User, acme: Organization) -> None:
    posthog.on_flags = lambda _: as_json(ON)

    require_release_toggle(alice, acme)
