"""`/metrics` on its own port: the sums of all worker processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from kilo_gateway.metrics import FOLDER_VARIABLE
from tests.e2e import wire
from tests.e2e.lab import PATHS, body_of, eventually
from tests.support.live import ROOT, Gateway, free_port

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
LINE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")


def scrape(gateway: Gateway) -> str:
    url = f"http://127.0.0.1:{gateway.environment['METRICS_PORT']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


def samples(gateway: Gateway) -> Samples:
    found = [LINE.fullmatch(line) for line in scrape(gateway).splitlines() if not line.startswith("#")]
    return {
        (match[1], frozenset(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))): float(match[3])
        for match in found
        if match is not None
    }


def total(gateway: Gateway, name: str, **labels: str) -> float:
    """The sum over all label sets that agree with these."""
    wanted = set(labels.items())
    return sum(value for (found, given), value in samples(gateway).items() if found == name and wanted <= given)


def send(gateway: Gateway, kind: str = "chat_completions", **options: object) -> wire.Reply:
    headers = {"x-kilocode-mode": str(options.pop("mode", "code")), **dict(options.pop("headers", {}))}  # type: ignore[call-overload]
    key = str(options.pop("key", gateway.user("alice")["api_key"]))
    return wire.send(gateway.base_url, PATHS[kind], body_of(kind, **options), key, headers).reply()


class TestRequests:
    def test_are_counted_over_all_workers(self, watched: Gateway) -> None:
        labels = {"api_kind": "chat_completions", "status": "200", "error_type": "", "route_kind": "exact"}
        before = total(watched, "kilo_gateway_requests_total", **labels)
        times = total(watched, "kilo_gateway_request_duration_seconds_count", api_kind="chat_completions")
        first = total(watched, "kilo_gateway_time_to_first_byte_seconds_count", streamed="true")
        for number in range(20):
            assert send(watched, stream=number % 2 == 0).status == 200
        assert eventually(lambda: total(watched, "kilo_gateway_requests_total", **labels) == before + 20)
        assert total(watched, "kilo_gateway_request_duration_seconds_count", api_kind="chat_completions") == times + 20
        assert total(watched, "kilo_gateway_time_to_first_byte_seconds_count", streamed="true") == first + 10
        assert total(watched, "kilo_gateway_tokens_total", kind="output") > 0
        # One for each process that has met this organization, mode and API kind.
        assert 1 <= total(watched, "kilo_gateway_locked_resolutions_total") < 20

    def test_that_an_upstream_fails(self, watched: Gateway) -> None:
        before = total(watched, "kilo_gateway_upstream_errors_total", provider="openrouter")
        watched.upstream.behave("status", status=500)
        try:
            assert send(watched).status == 500
        finally:
            watched.upstream.reset_behaviour()
        assert eventually(
            lambda: total(watched, "kilo_gateway_upstream_errors_total", provider="openrouter") == before + 1
        )

    def test_that_are_refused_before_they_are_resolved(self, watched: Gateway) -> None:
        def refused() -> float:
            return total(watched, "kilo_gateway_refusals_total", error_type="invalid_token")

        before = refused()
        assert send(watched, key="kgw_not-a-key").status == 401
        assert refused() == before + 1

    def test_whose_credential_the_provider_refuses(self, watched: Gateway) -> None:
        watched.upstream.behave("status", status=401)
        try:
            assert send(watched, mode="local-docs").status == 401
        finally:
            watched.upstream.reset_behaviour()
        assert eventually(lambda: total(watched, "kilo_gateway_credential_refusals_total", provider="neuralwatt") == 1)

    def test_no_label_is_of_a_client(self, watched: Gateway) -> None:
        """However many modes and models clients invent, and whoever they are."""
        names = {name for name, _ in samples(watched)}
        for number in range(5):
            send(watched, mode=f"invented-mode-{number}", model=f"invented-model-{number}")
            send(watched, mode=f"invented-mode-{number}")
        organization = watched.organization("Acme")["id"]
        assert eventually(lambda: total(watched, "kilo_gateway_requests_total", status="404") >= 5)
        text = scrape(watched)
        assert "invented" not in text
        assert organization not in text
        assert "claude" not in text
        assert {name for name, _ in samples(watched)} >= names


class TestProcesses:
    def test_queues_pools_and_the_catalog(self, watched: Gateway) -> None:
        assert eventually(lambda: total(watched, "kilo_gateway_workers") == 2)
        assert total(watched, "kilo_gateway_usage_queue_depth") == 0
        assert eventually(lambda: total(watched, "kilo_gateway_database_connections", state="open") >= 2)
        assert total(watched, "kilo_gateway_usage_dropped_total") == 0
        # Never synced here.
        assert "kilo_gateway_catalog_checked_timestamp_seconds 0" in scrape(watched)

    def test_a_dead_one_no_longer_counts_but_what_it_did_does(self, watched: Gateway) -> None:
        done = total(watched, "kilo_gateway_requests_total")
        assert done
        children = Path(f"/proc/{watched.process.pid}/task/{watched.process.pid}/children").read_text().split()
        worker = next(pid for pid in children if b"metrics_server" not in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(int(worker), signal.SIGKILL)
        assert eventually(lambda: total(watched, "kilo_gateway_workers") == 1, 10)
        assert total(watched, "kilo_gateway_requests_total") >= done
        assert eventually(lambda: total(watched, "kilo_gateway_workers") == 2, 20)

    def test_one_that_begins_to_count_spoils_no_scrape(self, watched: Gateway) -> None:
        """Its file is there before anything is in it."""
        children = Path(f"/proc/{watched.process.pid}/task/{watched.process.pid}/children").read_text().split()
        server = next(pid for pid in children if b"metrics_server" in Path(f"/proc/{pid}/cmdline").read_bytes())
        environment = Path(f"/proc/{server}/environ").read_text().split("\0")
        folder = next(line.partition("=")[2] for line in environment if line.startswith(f"{FOLDER_VARIABLE}="))
        empty = Path(folder) / f"counter_{os.getpid()}.db"
        empty.touch()
        try:
            assert "kilo_gateway_requests_total" in scrape(watched)
        finally:
            empty.unlink()

    def test_they_are_not_where_clients_are(self, watched: Gateway) -> None:
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{watched.base_url}/metrics", timeout=10)
        refused.value.close()
        assert refused.value.code == 404


def test_a_port_that_is_taken_stops_the_start(watched: Gateway) -> None:
    environment = watched.environment | {"MIGRATE": "0", "PORT": str(free_port())}
    done = subprocess.run(
        [sys.executable, "-m", "kilo_gateway.serve"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert f"Configuration error: METRICS_PORT: nothing can listen at 127.0.0.1:{environment['METRICS_PORT']}." in (
        done.stderr
    )


def test_nothing_is_left_when_the_server_is_killed(tmp_path: Path, watched: Gateway) -> None:
    """The process that serves the metrics ends with the one that started it, however that ended."""
    script = (
        "import os, sys, time\n"
        "from kilo_gateway.metrics import served_metrics\n"
        "with served_metrics('127.0.0.1', 0):\n"
        "    print(os.environ['PROMETHEUS_MULTIPROC_DIR'], flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    assert process.stdout is not None
    assert process.stdout.readline().decode().startswith(str(tmp_path))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.wait()
    process.stdout.close()
    (child,) = children
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.02)
