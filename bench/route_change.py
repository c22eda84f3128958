"""`python -m bench.route_change`: what a change of a route does to 64 clients that go on asking meanwhile.

Each client asks for a completion, again and again, over one connection of its own. Meanwhile the route is changed
through the management API. Every answer says in its receipt by which routing version it was decided.

Two things are looked at. Correctness: no request that starts after a change was committed may be decided by the version
before it; a change counts as committed when its answer has come, or when the first request was decided by it, whatever
was earlier. Throughput: the longest time below half of its median, within a second around each change.
"""

from __future__ import annotations

import argparse
import http.client
import json
import selectors
import socket
import statistics
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from bench.figures import number
from bench.gateway import completion_request, upstream_settings
from bench.installation import fresh_installation
from bench.measure import first_good_answer, post, settle
from bench.model import LOCAL_HOST, BenchError, Request
from bench.organizations import MODE, ORGANIZATION, OWNER, PROVIDER
from bench.processes import Priority, free_port
from bench.report import table
from bench.runs import Facts, Report, conduct, options_of_a_run, take_place
from bench.upstream import start_instant

CLIENTS = 64
CHANGES = 20
PAUSE_SECONDS = 0.5
_WARM_UP_SECONDS = 3.0
# In so short a time a core answers a few dozen requests, so that one bucket alone is below half by chance now and then.
BUCKET_SECONDS = 0.010
# So the throughput at a moment is that of the buckets around it.
SMOOTHED_BUCKETS = 3
AROUND_SECONDS = 0.5
LONGEST_DIP_MS = 100.0
_VERSION_HEADER = b"x-kilo-routing-version: "


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a client: when it started, when its answer was there, and by which version it was decided."""

    started: float
    ended: float
    version: int


@dataclass(frozen=True, slots=True)
class Changed:
    """One change of the route: when it was asked for, when it was answered, and the version that it made."""

    asked: float
    answered: float
    version: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What all the changes of a run did."""

    requests: int
    changes: int
    stale: int
    requests_per_second: float
    longest_dip_ms: float
    longest_dip_elsewhere_ms: float
    change_p50_ms: float

    @property
    def is_met(self) -> bool:
        return self.stale == 0 and self.longest_dip_ms <= LONGEST_DIP_MS


# ---------------------------------------------------------------- what was seen


def stale_requests(asked: Sequence[Asked], changes: Sequence[Changed]) -> int:
    """How many requests were decided by a version that had been replaced when they started."""
    stale = 0
    for change in changes:
        seen = [one.ended for one in asked if one.version >= change.version]
        committed = min([change.answered, *seen])
        stale += sum(one.started > committed and one.version < change.version for one in asked)
    return stale


def throughput(asked: Sequence[Asked]) -> tuple[float, list[float]]:
    """When the first bucket begins, and the answers of each bucket with its neighbours, as a mean."""
    start, end = min(one.ended for one in asked), max(one.ended for one in asked)
    counts = [0] * (int((end - start) / BUCKET_SECONDS) + 1)
    for one in asked:
        counts[int((one.ended - start) / BUCKET_SECONDS)] += 1
    reach = SMOOTHED_BUCKETS // 2
    # The ends have no neighbours, and are no part of the steady state.
    return start + reach * BUCKET_SECONDS, [
        statistics.fmean(counts[at - reach : at + reach + 1]) for at in range(reach, len(counts) - reach)
    ]


def longest_dips(asked: Sequence[Asked], changes: Sequence[Changed]) -> tuple[float, float]:
    """The longest time below half of the median, in milliseconds: around changes, and in all other moments."""
    start, buckets = throughput(asked)
    limit = statistics.median(buckets) / 2
    longest = {True: 0, False: 0}
    run, is_near = 0, False
    for place, count in enumerate([*buckets, limit]):
        moment = start + place * BUCKET_SECONDS
        if count < limit:
            run += 1
            is_near |= any(one.asked <= moment <= one.answered + AROUND_SECONDS / 2 for one in changes)
            continue
        longest[is_near] = max(longest[is_near], run)
        run, is_near = 0, False
    return longest[True] * BUCKET_SECONDS * 1e3, longest[False] * BUCKET_SECONDS * 1e3


# ---------------------------------------------------------------- the clients


class Clients(threading.Thread):
    """All clients, in one thread: each sends its next request as soon as it has its answer."""

    def __init__(self, port: int, request: Request) -> None:
        super().__init__(daemon=True)
        head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
        body = request.body.encode()
        self._request = (
            f"POST {request.path} HTTP/1.1\r\nHost: {LOCAL_HOST}\r\n{head}Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        self._port = port
        self._over = threading.Event()
        self.asked: list[Asked] = []
        self.failure = ""

    def run(self) -> None:
        try:
            self._run()
        except (OSError, BenchError) as error:
            self.failure = str(error) or type(error).__name__

    def _run(self) -> None:
        with selectors.DefaultSelector() as waiting:
            for _ in range(CLIENTS):
                client = socket.create_connection((LOCAL_HOST, self._port), timeout=10)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                waiting.register(client, selectors.EVENT_READ, [time.monotonic(), b""])
                client.sendall(self._request)
            while not self._over.is_set():
                for key, _ in waiting.select(1.0):
                    self._receive(key.fileobj, key.data)  # type: ignore[arg-type]  # they are sockets
            for key in list(waiting.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]

    def _receive(self, client: socket.socket, state: list[object]) -> None:
        data = bytes(state[1]) + client.recv(65536)  # type: ignore[call-overload]
        head, found, body = data.partition(b"\r\n\r\n")
        lower = head.lower()
        if not found or len(body) < int(lower.partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0):
            if not data:
                raise BenchError("a connection ended")
            state[1] = data
            return
        ended = time.monotonic()
        if not head.startswith(b"HTTP/1.1 200"):
            raise BenchError(f"an answer was {head[:40]!r}")
        version = int(lower.partition(_VERSION_HEADER)[2].partition(b"\r\n")[0])
        self.asked.append(Asked(float(state[0]), ended, version))  # type: ignore[arg-type]
        state[:] = [time.monotonic(), b""]
        client.sendall(self._request)

    def finish(self) -> list[Asked]:
        """Stop asking and return what was seen.

        Raises:
            BenchError: a request failed.
        """
        self._over.set()
        self.join(20)
        if self.failure:
            raise BenchError(f"the clients: {self.failure}")
        return self.asked


# ---------------------------------------------------------------- the administrator


class Administrator:
    """Somebody who changes the route through the management API."""

    def __init__(self, port: int, key: str, organization: str) -> None:
        self._connection = http.client.HTTPConnection(LOCAL_HOST, port, timeout=20)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._path = f"/api/organizations/{organization}/organization-auto/routes/{MODE}"

    def change(self, model: str) -> Changed:
        """Lead the route elsewhere.

        Raises:
            BenchError: it was refused.
        """
        asked = time.monotonic()
        self._connection.request("PUT", self._path, json.dumps({"model": model}), self._headers)
        answer = self._connection.getresponse()
        content = answer.read()
        answered = time.monotonic()
        if answer.status != 200:
            raise BenchError(f"the change was answered with {answer.status}: {content[:200]!r}")
        return Changed(asked, answered, int(str(answer.headers["ETag"]).strip('"')))


# ---------------------------------------------------------------- the run


def measure(changes: int) -> Outcome:
    """Start a gateway, let the clients ask, change the route, and look at what they saw.

    Raises:
        BenchError: a step failed.
    """
    with fresh_installation() as installation:
        upstream_port, port = free_port(), free_port()
        environment = installation.environment(port, **upstream_settings(upstream_port))
        (key,) = json.loads(installation.command(environment, "-m", "bench.organizations", "1"))
        owner = ("--user", OWNER, "--organization", ORGANIZATION, "--scope", "management")
        manager = installation.command(environment, "manage.py", "create_api_key", *owner).strip()
        request = completion_request(key)
        directory = installation.directory
        with (
            start_instant(directory / "upstream", upstream_port),
            installation.serve("gateway", environment, directory / "gateway.log") as program,
        ):
            first_good_answer(program, lambda: post(port, request))
            settle(program)
            # Where priority was asked for; the connections of the database have come up by now.
            Priority.give_all(installation.postmaster)
            organization = _organization(port, manager)
            return _observe(Administrator(port, manager, organization), Clients(port, request), changes)


def _observe(administrator: Administrator, clients: Clients, changes: int) -> Outcome:
    clients.start()
    time.sleep(_WARM_UP_SECONDS)
    begun = time.monotonic()
    made = []
    for turn in range(changes):
        made.append(administrator.change(f"{PROVIDER}/bench-model-{turn % 2}"))
        time.sleep(PAUSE_SECONDS)
    asked = [one for one in clients.finish() if one.started >= begun]
    return outcome(asked, made)


def outcome(asked: Sequence[Asked], changes: Sequence[Changed]) -> Outcome:
    """The figures of a run."""
    dip, elsewhere = longest_dips(asked, changes)
    seconds = max(one.ended for one in asked) - min(one.ended for one in asked)
    return Outcome(
        requests=len(asked),
        changes=len(changes),
        stale=stale_requests(asked, changes),
        requests_per_second=len(asked) / seconds,
        longest_dip_ms=dip,
        longest_dip_elsewhere_ms=elsewhere,
        change_p50_ms=statistics.median((one.answered - one.asked) * 1e3 for one in changes),
    )


def _organization(port: int, key: str) -> str:
    connection = http.client.HTTPConnection(LOCAL_HOST, port, timeout=20)
    connection.request("GET", "/api/profile", headers={"Authorization": f"Bearer {key}"})
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return str(answer["organizations"][0]["id"])


def markdown(result: Outcome, facts: Facts) -> str:
    """The results file for people."""
    words = {True: "met", False: "NOT MET"}
    stale_met, dip_met = result.stale == 0, result.longest_dip_ms <= LONGEST_DIP_MS
    rows = [
        ["requests that started after a change and did not see it", str(result.stale), f"0: {words[stale_met]}"],
        [
            "longest time below half of the median throughput around a change, ms",
            number(result.longest_dip_ms),
            f"at most {number(LONGEST_DIP_MS)}: {words[dip_met]}",
        ],
        ["the same in all other moments, ms", number(result.longest_dip_elsewhere_ms), ""],
        ["requests/s", number(result.requests_per_second), ""],
        ["time of a change, median, ms", number(result.change_p50_ms), ""],
    ]
    how = (
        f"{result.changes} changes, {result.requests:,} requests. Throughput is of {BUCKET_SECONDS * 1e3:.0f} ms, "
        f"as the mean with the buckets beside it ({SMOOTHED_BUCKETS * BUCKET_SECONDS * 1e3:.0f} ms)."
    )
    return "\n\n".join(
        [
            f"# A route changed while {CLIENTS} clients ask, {facts.started_at}",
            how,
            table(["", "this run", "bar"], rows),
            "## Machine",
            facts.lines(),
        ]
    )


def report(options: argparse.Namespace, facts: Facts) -> Report:
    """All of a run.

    Raises:
        BenchError: a step failed.
    """
    take_place(priority=options.priority)
    result = measure(options.changes)
    return Report(
        kind="route-change",
        text=markdown(result, facts),
        figures=asdict(facts) | asdict(result),
        is_full=options.changes >= CHANGES,
        is_met=result.is_met,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and return the exit status."""
    parser = options_of_a_run("bench.route_change", "Change routes under load.")
    parser.add_argument("--changes", type=int, default=CHANGES, help="how often the route is changed")
    options = parser.parse_args(arguments)
    return conduct(options, lambda facts: report(options, facts))


if __name__ == "__main__":
    sys.exit(main())
