"""The peers: nginx as the limit, LiteLLM's proxy and Portkey's gateway, each in its recommended production settings.

They are installed below `bench/.cache` from lock files with hashes, without running install scripts, and started with a
bare environment and a home directory of their own: what is measured is other people's code.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from bench.model import CACHE, HERE, LOCAL_HOST, BenchError, chat_request
from bench.processes import SUBJECT_CORE, Program, bare_environment, free_port, run, tool_version
from bench.subject import Running, Subject
from bench.upstream import start_nginx

_INSTALL_SECONDS = 240.0


def installed_once(directory: Path, lock: Path, install: Callable[[Path], None]) -> None:
    """Run `install` into an empty `directory`, unless that was done before for the same lock file."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    stamp = directory / ".installed"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == digest:
        return
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    install(directory)
    stamp.write_text(digest, encoding="utf-8")


class Nginx(Subject):
    """nginx as a reverse proxy: what one core can do at most."""

    name = "nginx"
    title = "nginx proxy_pass"
    settings = ("one worker, keep-alive to clients and upstream, no buffering of responses, no access log",)

    def prepare(self) -> str:
        return tool_version(["nginx", "-v"]).removeprefix("nginx version: ").removeprefix("nginx/")

    def start(self, directory: Path, upstream_port: int) -> Running:
        port = free_port()
        body = f"""
    upstream bench {{
        server {LOCAL_HOST}:{upstream_port};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {LOCAL_HOST}:{port} backlog=4096;
        location / {{
            proxy_pass http://bench;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 120s;
        }}
    }}"""
        program = start_nginx(self.name, directory, body, core=SUBJECT_CORE)
        request = chat_request("/v1/chat/completions", "bench-model", {})
        stream = chat_request("/v1/chat/completions", "bench-model", {}, stream=True)
        return Running(program, port, [request], [stream])


class LiteLLM(Subject):
    """LiteLLM's proxy as its production page has it, without a database."""

    name = "litellm"
    title = "LiteLLM proxy"
    settings: tuple[str, ...] = (
        "one uvicorn worker",
        "LITELLM_MODE=PRODUCTION, LITELLM_LOG=ERROR, set_verbose false, json_logs true, telemetry false",
        "request_timeout 600, master key, no database, no Redis, bundled price list",
    )
    _server_options: tuple[str, ...] = ()

    def prepare(self) -> str:
        lock = HERE / "requirements-litellm.lock"
        installed_once(CACHE / "litellm", lock, lambda directory: self._install(directory, lock))
        code = "from importlib.metadata import version; print(version('litellm'))"
        return run([str(CACHE / "litellm/bin/python"), "-c", code], seconds=20).strip()

    @staticmethod
    def _install(directory: Path, lock: Path) -> None:
        run([sys.executable, "-m", "venv", str(directory)], seconds=60)
        python = str(directory / "bin/python")
        uv = Path(sys.executable).with_name("uv")
        tool = [str(uv), "pip", "install", "--quiet", "--python", python]
        if not uv.exists():
            tool = [python, "-m", "pip", "install", "--quiet"]
        locked = ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", str(lock)]
        run([*tool, *locked], seconds=_INSTALL_SECONDS)

    def start(self, directory: Path, upstream_port: int) -> Running:
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        key = f"sk-{secrets.token_hex(16)}"
        upstream = {
            "model": "openai/bench-model",
            "api_base": f"http://{LOCAL_HOST}:{upstream_port}/v1",
            "api_key": "sk-upstream",
        }
        configuration = {
            "model_list": [{"model_name": "bench-model", "litellm_params": upstream}],
            "litellm_settings": {"request_timeout": 600, "set_verbose": False, "json_logs": True, "telemetry": False},
            "general_settings": {"master_key": key},
        }
        file = directory / "litellm.yaml"
        file.write_text(json.dumps(configuration), encoding="utf-8")  # JSON is YAML
        command = [str(CACHE / "litellm/bin/litellm"), "--config", str(file), "--host", LOCAL_HOST, "--port", str(port)]
        environment = bare_environment(
            directory,
            {"LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        )
        program = Program(
            self.name,
            [*command, "--num_workers", "1", *self._server_options],
            log=directory / "litellm.log",
            core=SUBJECT_CORE,
            environment=environment,
            directory=directory,
        )
        headers = {"Authorization": f"Bearer {key}"}
        request = chat_request("/v1/chat/completions", "bench-model", headers)
        stream = chat_request("/v1/chat/completions", "bench-model", headers, stream=True)
        return Running(program, port, [request], [stream])


class LiteLLMGranian(LiteLLM):
    """LiteLLM's proxy on the other server it offers; not what its production page recommends, so only on request."""

    name = "litellm-granian"
    title = "LiteLLM proxy (granian)"
    settings: tuple[str, ...] = (*LiteLLM.settings[1:], "one granian worker (--run_granian)")
    _server_options = ("--run_granian",)


class Portkey(Subject):
    """Portkey's open source gateway on Node."""

    name = "portkey"
    title = "Portkey gateway"
    settings = (
        "node build/start-server.js --headless, NODE_ENV=production (no console, no log stream)",
        "provider and upstream from x-portkey headers, as it is used without Portkey's service",
    )
    _package = Path("node_modules/@portkey-ai/gateway")

    def prepare(self) -> str:
        if shutil.which("node") is None or shutil.which("npm") is None:
            raise BenchError("node and npm are missing (Debian: apt-get install nodejs npm)")
        lock = HERE / "package-lock.json"
        installed_once(CACHE / "portkey", lock, self._install)
        package = json.loads((CACHE / "portkey" / self._package / "package.json").read_text(encoding="utf-8"))
        return f"{package['version']} (node {tool_version(['node', '--version']).removeprefix('v')})"

    @staticmethod
    def _install(directory: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, directory / name)
        command = ["npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"]
        run(command, seconds=_INSTALL_SECONDS, directory=directory, environment=os.environ)

    def start(self, directory: Path, upstream_port: int) -> Running:
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        server = CACHE / "portkey" / self._package / "build/start-server.js"
        program = Program(
            self.name,
            ["node", str(server), f"--port={port}", "--headless"],
            log=directory / "portkey.log",
            core=SUBJECT_CORE,
            environment=bare_environment(directory, {"NODE_ENV": "production"}),
            directory=directory,
        )
        headers = {
            "Authorization": "Bearer sk-upstream",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"http://{LOCAL_HOST}:{upstream_port}/v1",
        }
        request = chat_request("/v1/chat/completions", "bench-model", headers)
        stream = chat_request("/v1/chat/completions", "bench-model", headers, stream=True)
        return Running(program, port, [request], [stream])
