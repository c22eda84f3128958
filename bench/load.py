"""Throughput and latency with wrk."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.model import LOCAL_HOST, BenchError, Load, Request
from bench.processes import LOAD_CORE, SUBJECT_CORE, CoreTime, Program, run

_RESULT_LINE = "bench-result "
_GRACE_SECONDS = 20.0

# Every request is prepared once; several (other keys, other organizations) take turns.
_SCRIPT = """\
local prepared = {{}}
local turn = 0

function init(arguments)
{requests}
end

function request()
  turn = turn % #prepared + 1
  return prepared[turn]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{marker}{{"requests":%d,"microseconds":%d,"p50":%f,"p99":%f,"statuses":%d,"sockets":%d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
"""


def lua_text(value: str) -> str:
    """A Lua string literal; whatever is not plain is written as a decimal escape."""
    escaped = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03d}" for byte in value.encode())
    return '"' + "".join(escaped) + '"'


def wrk_script(requests: Sequence[Request]) -> str:
    """The Lua script that makes wrk send these requests in turn."""
    lines = []
    for request in requests:
        headers = ", ".join(f"[{lua_text(name)}] = {lua_text(value)}" for name, value in request.headers.items())
        lines.append(
            f'  prepared[#prepared + 1] = wrk.format("POST", {lua_text(request.path)}, {{{headers}}}, '
            f"{lua_text(request.body)})"
        )
    return _SCRIPT.format(requests="\n".join(lines), marker=_RESULT_LINE)


def parse_wrk(output: str, clients: int) -> Load:
    """What our script printed at the end of a run of wrk.

    Raises:
        BenchError: it is not there, or wrk made no request.
    """
    for line in output.splitlines():
        if line.startswith(_RESULT_LINE):
            figures = json.loads(line.removeprefix(_RESULT_LINE))
            if not figures["requests"]:
                raise BenchError(f"no request of {clients} clients was answered")
            return Load(
                clients=clients,
                requests=figures["requests"],
                seconds=figures["microseconds"] / 1e6,
                p50_ms=figures["p50"] / 1e3,
                p99_ms=figures["p99"] / 1e3,
                error_statuses=figures["statuses"],
                socket_errors=figures["sockets"],
            )
    raise BenchError("wrk printed no result")


def run_wrk(
    port: int,
    requests: Sequence[Request],
    *,
    clients: int,
    seconds: float,
    directory: Path,
    program: Program | None = None,
) -> Load:
    """Load a subject with `clients` connections and say what it did and what it cost."""
    directory.mkdir(parents=True, exist_ok=True)
    script = directory / "requests.lua"
    script.write_text(wrk_script(requests), encoding="utf-8")
    # The address needs a path although the script names one for each request.
    command = ["taskset", "--cpu-list", str(LOAD_CORE), "wrk", "--threads", "1", "--connections", str(clients)]
    duration = f"{max(math.ceil(seconds), 1)}s"
    command += ["--duration", duration, "--timeout", "15s", "--latency", "--script", str(script)]
    command += [f"http://{LOCAL_HOST}:{port}/"]
    cpu = program.cpu_seconds() if program else 0.0
    subject_core, load_core = CoreTime.now(SUBJECT_CORE), CoreTime.now(LOAD_CORE)
    load = parse_wrk(run(command, seconds=seconds + _GRACE_SECONDS), clients)
    used = program.cpu_seconds() - cpu if program else None
    subject_core = CoreTime.now(SUBJECT_CORE).since(subject_core)
    load_core = CoreTime.now(LOAD_CORE).since(load_core)
    # What others took of the subject's core: a disturbed measurement shows here. Interrupts are the network's, so ours.
    foreign = subject_core.busy - subject_core.interrupts - (used or 0.0)
    return replace(
        load,
        cpu_seconds=used,
        subject_core_foreign=max(foreign, 0.0) / subject_core.total,
        load_core_busy=load_core.busy / load_core.total,
    )
