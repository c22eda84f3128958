"""`python -m bench.pages`: the time that the server takes for each page, against a static page of the same size.

The static page is the same bytes, answered by the same server to the same signed-in person behind the same middleware.
So what is compared is the work on the page: queries, selectors, templates.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlencode

from bench.figures import number
from bench.installation import Installation, fresh_installation
from bench.measure import first_good_answer
from bench.model import LOCAL_HOST, BenchError
from bench.page_data import MODELS, MODES
from bench.processes import Priority, free_port
from bench.report import table
from bench.runs import Facts, Report, conduct, options_of_a_run, say, take_place

ROWS = 1_000_000
ROUNDS = 200
_WARM_UP = 20
_DATA_SECONDS = 600.0
_LARGEST_RATIO = 2.0
# As a browser asks for them.
_ENCODING = {"Accept-Encoding": "gzip"}


@dataclass(frozen=True, slots=True)
class PageResult:
    """The medians of one page and of its static twin, in milliseconds."""

    title: str
    path: str
    size: int
    page_ms: float
    static_ms: float

    @property
    def ratio(self) -> float:
        return self.page_ms / self.static_ms


class Browser:
    """A person who has signed in: one connection that stays open, and the cookies."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(LOCAL_HOST, port, timeout=30)
        self._cookies: dict[str, str] = {}

    def ask(
        self, path: str, *, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Ask for a page, or post a form, and return status and body as they came."""
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items()), **(headers or {})}
        body = None if form is None else urlencode(form)
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        self._connection.request("GET" if body is None else "POST", path, body, sent)
        answer = self._connection.getresponse()
        for cookie in answer.msg.get_all("Set-Cookie") or ():
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        return answer.status, answer.read()

    def sign_in(self, email: str, password: str) -> None:
        """Through the form, as everybody does.

        Raises:
            BenchError: it was refused.
        """
        _, page = self.ask("/accounts/login")
        found = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        token = found[1].decode() if found else ""
        status, _ = self.ask(
            "/accounts/login", form={"login": email, "password": password, "csrfmiddlewaretoken": token}
        )
        if status != 302:
            raise BenchError(f"signing in was answered with {status}")

    def timed(self, path: str) -> float:
        """Milliseconds from the request to the last byte of a good answer.

        Raises:
            BenchError: it was no good answer.
        """
        started = time.perf_counter()
        status, _ = self.ask(path, headers=_ENCODING)
        taken = (time.perf_counter() - started) * 1e3
        if status != 200:
            raise BenchError(f"{path} was answered with {status}")
        return taken


def pages_of(organization: str, rows: int) -> dict[str, str]:
    """The pages that have a bar, by what they show."""
    base = f"/organizations/{organization}"
    return {
        f"Modes, {MODES} modes and routes": f"{base}/modes",
        f"Providers & Models, {MODELS} models": f"{base}/providers-and-models",
        f"Audit log, {rows:,} rows": f"{base}/audit-logs",
        f"Usage, {rows:,} rows": f"{base}/usage",
        f"Requests, {rows:,} rows": f"{base}/usage/requests",
    }


@contextmanager
def served(installation: Installation, static: Path) -> Iterator[int]:
    """The port of a server with the static pages of this folder.

    Raises:
        BenchError: it does not start.
    """
    port = free_port()
    environment = installation.environment(
        port, DJANGO_SETTINGS_MODULE="bench.page_settings", BENCH_STATIC_PAGES=str(static)
    )
    with installation.serve("pages", environment, installation.directory / "gateway.log") as program:
        first_good_answer(program, lambda: Browser(port).ask("/readyz"))
        yield port


def compare(browser: Browser, pages: Mapping[str, str], static: Path, rounds: int) -> list[PageResult]:
    """Each page in turn with its static twin, so that whatever else the machine does meets both."""
    found = []
    for position, (title, path) in enumerate(pages.items()):
        status, body = browser.ask(path)
        if status != 200:
            raise BenchError(f"{path} was answered with {status}")
        name = f"page-{position}"
        (static / name).write_bytes(body)
        times: dict[str, list[float]] = {path: [], f"/bench/static/{name}": []}
        for turn in range(_WARM_UP + rounds):
            for each, taken in times.items():
                milliseconds = browser.timed(each)
                if turn >= _WARM_UP:
                    taken.append(milliseconds)
        page_ms, static_ms = (statistics.median(taken) for taken in times.values())
        found.append(
            PageResult(title, path.rpartition("organizations/")[2].partition("/")[2], len(body), page_ms, static_ms)
        )
        say(f"  {title}: {number(found[-1].ratio)} x")
    return found


def measure(rows: int, rounds: int) -> list[PageResult]:
    """Make the data, start the server, and compare.

    Raises:
        BenchError: a step failed.
    """
    with fresh_installation() as installation:
        static = installation.directory / "static-pages"
        static.mkdir()
        say(f"making {rows:,} usage records and as many audit rows ...")
        made = json.loads(
            installation.command(installation.environment(), "-m", "bench.page_data", str(rows), seconds=_DATA_SECONDS)
        )
        with served(installation, static) as port:
            browser = Browser(port)
            browser.sign_in(made["email"], made["password"])
            # Where priority was asked for; the connections of the database have come up by now.
            Priority.give_all(installation.postmaster)
            return compare(browser, pages_of(made["organization"], rows), static, rounds)


def markdown(results: Sequence[PageResult], facts: Facts, rounds: int) -> str:
    """The results file for people."""
    rows = [
        [
            result.title,
            f"{result.size / 1e3:,.0f}",
            number(result.static_ms),
            number(result.page_ms),
            f"{number(result.ratio)} x",
            "met" if result.ratio <= _LARGEST_RATIO else "NOT MET",
        ]
        for result in results
    ]
    header = ["page", "KB", "static, ms", "page, ms", "ratio", f"at most {number(_LARGEST_RATIO)} x"]
    how = (
        f"Medians of {rounds} requests each, page and static page in turns over one connection, compressed as for a "
        "browser. Read the ratios; the times are this machine's."
    )
    return "\n\n".join(
        [
            f"# Pages against static pages of the same size, {facts.started_at}",
            how,
            table(header, rows),
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
    results = measure(options.rows, options.rounds)
    pages = [asdict(one) | {"ratio": one.ratio} for one in results]
    return Report(
        kind="pages",
        text=markdown(results, facts, options.rounds),
        figures=asdict(facts) | {"rounds": options.rounds, "pages": pages},
        is_full=options.rows == ROWS,
        is_met=all(one.ratio <= _LARGEST_RATIO for one in results),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and return the exit status."""
    parser = options_of_a_run("bench.pages", "Measure pages against static ones.")
    parser.add_argument("--rows", type=int, default=ROWS, help="usage records, and audit rows")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="requests for each page")
    options = parser.parse_args(arguments)
    return conduct(options, lambda facts: report(options, facts))


if __name__ == "__main__":
    sys.exit(main())
