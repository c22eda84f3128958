"""Settings from the environment: what is malformed stops the start with one line that names it and shows no secret."""

from __future__ import annotations

import os
import runpy
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from byok.providers import PROVIDERS
from kilo_gateway.env import Environment, SettingError, kept_secret
from tests.support.live import ROOT, free_port

CANARY = "canary-9f31c2"


def message_of(variables: dict[str, str], read: str, *arguments: Any, **options: Any) -> str:
    """The message with which a reading is refused."""
    with pytest.raises(SettingError) as caught:
        getattr(Environment(variables), read)(*arguments, **options)
    return str(caught.value)


class TestText:
    def test_it_works(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("  from a file\n")
        variables = {"A": " here ", "B_FILE": str(tmp_path / "secret"), "C": " ", "D_FILE": ""}
        environment = Environment(variables)
        assert [environment.text(name, "default") for name in "ABCDE"] == [
            "here", "from a file", "default", "default", "default",
        ]  # fmt: skip

    def test_an_empty_file_is_an_unset_variable(self, tmp_path: Path) -> None:
        (tmp_path / "empty").write_text("\n")
        assert Environment({"A_FILE": str(tmp_path / "empty")}).text("A", "default") == "default"

    def test_both(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text(CANARY)
        message = message_of({"A": CANARY, "A_FILE": str(tmp_path / "secret")}, "text", "A")
        assert message == "A and A_FILE are both set; keep one of them."

    def test_a_file_that_cannot_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "binary").write_bytes(b"\xff" + CANARY.encode())
        below_a_file = tmp_path / "binary" / "below"
        for path in (tmp_path / "none", tmp_path, tmp_path / "binary", below_a_file, Path(CANARY), Path("x" * 5000)):
            message = message_of({"A_FILE": str(path)}, "text", "A")
            assert message.startswith("A_FILE cannot be read")
            assert CANARY not in message
            assert "\n" not in message

    def test_every_kind_may_come_from_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "value").write_text("7\n")
        environment = Environment({"A_FILE": str(tmp_path / "value")})
        assert (environment.integer("A", 0), environment.seconds("A", 1), environment.words("A")) == (7, 7.0, ("7",))


class TestKinds:
    @pytest.mark.parametrize("text", ["1", "true", "YES", " on "])
    def test_flags_that_are_on(self, text: str) -> None:
        assert Environment({"A": text}).flag("A", default=False) is True

    @pytest.mark.parametrize("text", ["0", "false", "NO", "off"])
    def test_flags_that_are_off(self, text: str) -> None:
        assert Environment({"A": text}).flag("A", default=True) is False

    @pytest.mark.parametrize("text", ["2", "enabled", "y", "-1", "1.0"])
    def test_no_flag(self, text: str) -> None:
        assert message_of({"A": text}, "flag", "A", default=False) == "A must be 1 or 0."

    @pytest.mark.parametrize("default", [True, False])
    def test_a_blank_flag_is_its_default(self, default: bool) -> None:
        assert Environment({"A": " "}).flag("A", default=default) is default

    @pytest.mark.parametrize("text", ["x", "1.5", "1e3", "0x10", "1 2", "--1", "9" * 5000])
    def test_no_whole_number(self, text: str) -> None:
        assert message_of({"A": text}, "integer", "A", 1) == "A must be a whole number."

    @pytest.mark.parametrize("text", ["-1", "2"])
    def test_too_small_a_number(self, text: str) -> None:
        assert message_of({"A": text}, "integer", "A", 5, minimum=3) == "A must be at least 3."

    @pytest.mark.parametrize("text", ["8", "99999"])
    def test_too_large_a_number(self, text: str) -> None:
        assert message_of({"A": text}, "integer", "A", 5, maximum=7) == "A must be at most 7."

    @pytest.mark.parametrize(
        "text",
        ["a.example", "https://", "ftp://a.example", "https://a.example/", "https://a.example, b.example", "://a"],
    )
    def test_no_origins(self, text: str) -> None:
        assert message_of({"A": text}, "origins", "A", ()).startswith("A must list origins")

    def test_origins(self) -> None:
        found = Environment({"A": "https://a.example,http://*.b.example:8000"}).origins("A", ())
        assert found == ("https://a.example", "http://*.b.example:8000")

    @pytest.mark.parametrize("text", ["x", "5s", "1,5"])
    def test_no_duration(self, text: str) -> None:
        assert message_of({"A": text}, "seconds", "A", 1) == "A must be a number of seconds."

    @pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "-inf", "86400", "1e999"])
    def test_a_duration_that_makes_no_sense(self, text: str) -> None:
        assert message_of({"A": text}, "seconds", "A", 1).startswith("A must be more than 0")

    def test_words(self) -> None:
        assert Environment({"A": " a, b ,,c "}).words("A", ("x",)) == ("a", "b", "c")
        assert Environment({"A": " , "}).words("A", ("x",)) == ()
        assert Environment({}).words("A", ("x",)) == ("x",)

    @pytest.mark.parametrize(
        "text", ["10.0.0.0/33", "proxy", "10.0.0", "::1/129", "10.0.0.1,,x", "10.0.0.0/8 10.0.0.1"]
    )
    def test_no_networks(self, text: str) -> None:
        assert message_of({"A": text}, "networks", "A").startswith("A must list IP addresses")

    def test_choices(self) -> None:
        assert Environment({"A": "JSON"}).choice("A", "console", ("json", "console")) == "json"
        assert (
            message_of({"A": "xml"}, "choice", "A", "json", ("json", "console")) == "A must be one of: json, console."
        )

    @pytest.mark.parametrize(
        "text", ["https://a.example", "http://a.example:80/b/", "HTTP://[::1]:8000", "https://é.example"]
    )
    def test_addresses(self, text: str) -> None:
        assert Environment({"A": text}).url("A") == text.rstrip("/")

    @pytest.mark.parametrize(
        "text",
        [
            "a.example",
            "//a.example",
            "ftp://a.example",
            "http://",
            "http://:80",
            "http://a.example:0",
            "http://a.example:99999",
            "http://a b.example",
            "http://a.example\n/b",
            "http://a.example\\b",
            "https://a.example/?",
            "https://a.example/#",
            "https://@a.example",
            "http://a.example:x",
            "http://[::1",
            "https://a.example/?b=1",
            "https://a.example/#b",
            f"https://user:{CANARY}@a.example",
            f"https://{CANARY}@a.example",
        ],
    )
    def test_no_address(self, text: str) -> None:
        message = message_of({"A": text}, "url", "A")
        assert message.startswith("A must be an address")
        assert CANARY not in message


# ---------------------------------------------------------------- the settings as a whole

KEY_32 = "A" * 43 + "="
MALFORMED = {
    "DEBUG": ["maybe", "2"],
    "BASE_URL": ["gateway.example.com", "ftp://x", f"https://user:{CANARY}@gateway.example.com", "http://x:99999", "http://x:0"],
    "PORT": ["http", "0", "-1", "65536"],
    "CSRF_TRUSTED_ORIGINS": ["gateway.example.com", "https://a.example/path"],
    "TRUSTED_PROXIES": ["the-proxy", "10.0.0.0/99"],
    "SECRET_KEY": [CANARY],
    "CREDENTIAL_KEYS": [CANARY, f"k1:{CANARY}", f"k1:{KEY_32},k1:{KEY_32}", f"{CANARY * 5}:{KEY_32}", "k1:", ":"],
    "DATABASE_URL": ["mysql://x/y", f"postgresql://user:{CANARY}@host", f"user={CANARY}", f"postgresql://{CANARY}:x:y:z@/"],
    "DATABASE_POOL_SIZE": ["2", "many"],
    "OPENROUTER_BASE_URL": ["openrouter.ai", f"https://{CANARY}@openrouter.ai"],
    "VERCEL_AI_GATEWAY_BASE_URL": ["x"],
    "PROVIDER_BASE_URL_NEURALWATT": ["neuralwatt.com", f"https://{CANARY}@x", "https://x/?a", "https://x y", "ftp://x"],
    "PROVIDER_BASE_URL_NOBODY": ["https://x"],
    "UPSTREAM_CONNECT_TIMEOUT": ["0", "soon", "-1", "nan"],
    "UPSTREAM_FIRST_BYTE_TIMEOUT": ["0", "1e9"],
    "UPSTREAM_IDLE_TIMEOUT": ["inf"],
    "CATALOG_SYNC": ["never"],
    "CATALOG_SYNC_TIMEOUT": ["0"],
    "MAX_REQUEST_BYTES": ["1023", "32MB", "-1"],
    "RATE_LIMIT_PER_KEY": ["-1", "10/min"],
    "LOG_FORMAT": ["xml"],
    "ALLOWED_HOSTS": ["https://a.example", "a.example:8000", "a.example/b", "a.example b.example", ".", "a..b", ","],
    "EMAIL_FROM": ["foo", "a@b@c", "Kilo, Inc <a@b.example>", "a@b.example, c@d.example", "A <a@b.example\n>", "@b"],
    "OTEL_TRACES_SAMPLER": ["zzz"],
    "OTEL_TRACES_SAMPLER_ARG": ["most", "1.5", "-1", "nan"],
    "OTEL_BSP_SCHEDULE_DELAY": ["abc", "0"],
    "OTEL_BSP_EXPORT_TIMEOUT": ["30s"],
    "OTEL_BSP_MAX_QUEUE_SIZE": ["-5"],
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": ["4096", "x"],
    "OTEL_EXPORTER_OTLP_TIMEOUT": ["soon"],
    "OTEL_EXPORTER_OTLP_COMPRESSION": ["zip"],
    "OTEL_EXPORTER_OTLP_HEADERS": [CANARY, f"={CANARY}"],
    "OTEL_RESOURCE_ATTRIBUTES": ["team"],
    "OTEL_SDK_DISABLED": ["maybe"],
    "OIDC_EMAIL_DOMAINS": ["@example.com", "https://example.com", "*.example.com", "a b", ".example.com"],
    "HSTS_SECONDS": ["a year", "-1"],
    "HSTS_INCLUDE_SUBDOMAINS": ["all"],
}  # fmt: skip
SECRETS = ["SECRET_KEY", "CREDENTIAL_KEYS", "DATABASE_URL", "OPENROUTER_API_KEY", "VERCEL_AI_GATEWAY_API_KEY"]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The environment of a new production installation."""
    for name in list(os.environ):
        if name.endswith("_FILE") or name in MALFORMED or name in SECRETS:
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:password@127.0.0.1/name")
    return monkeypatch


def settings() -> dict[str, Any]:
    """The settings as a new process would read them; those of this one stay as they are."""
    return runpy.run_path(str(ROOT / "kilo_gateway" / "settings.py"))


def refusal() -> str:
    with pytest.raises(SettingError) as caught:
        settings()
    message = str(caught.value)
    assert "\n" not in message
    assert CANARY not in message
    assert KEY_32 not in message
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return message


class TestRedis:
    @pytest.mark.parametrize(
        "text",
        [
            "",
            "redis://127.0.0.1",
            "redis://127.0.0.1:6379/0",
            "rediss://:password@cache.example.com:6380/15",
            "redis://[::1]/",
        ],
    )
    def test_it_works(self, text: str) -> None:
        assert Environment({"CACHE_URL": text}).redis("CACHE_URL") == text

    @pytest.mark.parametrize(
        "text",
        [
            "redis",
            f"http://:{CANARY}@cache.example.com",
            "redis://",
            f"redis://:{CANARY}@/0",
            f"redis://:{CANARY}@host:0",
            f"redis://:{CANARY}@host:port",
            f"redis://:{CANARY}@host/first",
            f"memcached://:{CANARY}@host",
        ],
    )
    def test_malformed(self, text: str) -> None:
        message = message_of({"CACHE_URL": text}, "redis", "CACHE_URL")
        assert message.startswith("CACHE_URL must look like")
        assert CANARY not in message


class TestMail:
    @pytest.mark.parametrize(
        ("text", "host", "port", "ssl", "starttls"),
        [
            ("smtp://mail.example.com", "mail.example.com", 587, False, True),
            ("smtps://mail.example.com/", "mail.example.com", 465, True, False),
            ("smtp+plain://localhost:1025", "localhost", 1025, False, False),
            ("smtp://[2001:db8::1]:25", "2001:db8::1", 25, False, True),
        ],
    )
    def test_it_works(self, text: str, host: str, port: int, ssl: bool, starttls: bool) -> None:
        server = Environment({"EMAIL_URL": text}).mail("EMAIL_URL")
        assert server is not None
        assert (server.host, server.port, server.is_ssl, server.is_starttls) == (host, port, ssl, starttls)

    def test_user_and_password_are_quoted(self) -> None:
        server = Environment({"EMAIL_URL": f"smtp://me%40example.com:{CANARY}%2F%3A@mail.example.com"}).mail(
            "EMAIL_URL"
        )
        assert server is not None
        assert (server.user, server.password) == ("me@example.com", f"{CANARY}/:")
        assert CANARY not in repr(server)

    @pytest.mark.parametrize("variables", [{}, {"EMAIL_URL": "console://"}, {"EMAIL_URL": " "}])
    def test_without_a_server_they_are_printed(self, variables: dict[str, str]) -> None:
        assert Environment(variables).mail("EMAIL_URL") is None

    @pytest.mark.parametrize(
        "text",
        [
            "mail.example.com", "https://mail.example.com", "smtp://", "smtp://mail:0", "smtp://mail:99999",
            "smtp://mail/path", "smtp://mail?tls=1", "console://mail", "smtp://[::1",
        ],
    )  # fmt: skip
    def test_what_is_none(self, text: str) -> None:
        told = message_of({"EMAIL_URL": text.replace("mail", CANARY)}, "mail", "EMAIL_URL")
        assert told.startswith("EMAIL_URL must be an address such as smtp://")
        assert CANARY not in told


class TestSettings:
    def test_it_works(self, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
        found = settings()
        assert found["DEBUG"] is False
        assert len(found["SECRET_KEY"]) >= 50
        assert found["SECRET_KEY"] == (tmp_path / "data" / "secret_key").read_text()
        again = settings()
        assert (again["SECRET_KEY"], again["CREDENTIAL_KEYS"]) == (found["SECRET_KEY"], found["CREDENTIAL_KEYS"])

    @pytest.mark.parametrize(
        ("name", "value"), [(name, value) for name, values in MALFORMED.items() for value in values]
    )
    def test_a_malformed_one_is_named(self, environment: pytest.MonkeyPatch, name: str, value: str) -> None:
        environment.setenv(name, value)
        assert name in refusal()

    @pytest.mark.parametrize("name", [*MALFORMED, *SECRETS])
    def test_a_file_that_is_not_there_is_named(self, environment: pytest.MonkeyPatch, name: str) -> None:
        environment.delenv(name, raising=False)
        environment.setenv(f"{name}_FILE", "/nowhere/at/all")
        assert f"{name}_FILE" in refusal()

    @pytest.mark.parametrize("name", SECRETS)
    def test_a_secret_given_twice(self, environment: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
        (tmp_path / "secret").write_text(CANARY)
        environment.setenv(name, CANARY)
        environment.setenv(f"{name}_FILE", str(tmp_path / "secret"))
        assert f"{name} and {name}_FILE are both set" in refusal()

    def test_secrets_from_files(self, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
        values = {"SECRET_KEY": CANARY * 5, "CREDENTIAL_KEYS": f"k1:{KEY_32}", "OPENROUTER_API_KEY": CANARY}
        for name, value in values.items():
            (tmp_path / name).write_text(f"{value}\n")
            environment.setenv(f"{name}_FILE", str(tmp_path / name))
        found = settings()
        assert {name: found[name] for name in values} == values
        assert not (tmp_path / "data").exists()

    def test_no_database(self, environment: pytest.MonkeyPatch) -> None:
        environment.delenv("DATABASE_URL")
        assert "DATABASE_URL" in refusal()

    @pytest.mark.parametrize("missing", ["OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"])
    def test_an_issuer_needs_a_client(self, environment: pytest.MonkeyPatch, missing: str) -> None:
        for name in {"OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"} - {missing}:
            environment.setenv(name, CANARY)
        environment.setenv("OIDC_ISSUER", "https://login.example.com")
        assert missing in refusal()
        environment.setenv(missing, CANARY)
        assert settings()["OIDC_ISSUER"] == "https://login.example.com"

    def test_production_is_not_open_to_any_host(self, environment: pytest.MonkeyPatch) -> None:
        environment.setenv("BASE_URL", "https://gateway.example.com")
        found = settings()
        assert set(found["ALLOWED_HOSTS"]) == {"gateway.example.com", "localhost", "127.0.0.1", "[::1]"}
        assert found["SESSION_COOKIE_SECURE"] is found["CSRF_COOKIE_SECURE"] is found["SECURE_SSL_REDIRECT"] is True

    def test_the_ones_that_are_well_formed(self, environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "url").write_text("http://127.0.0.1:9/v1\n")
        for name, value in {
            "BASE_URL": "https://[2001:db8::1]:8443",
            "OIDC_EMAIL_DOMAINS": "Example.com, intern",
            "EMAIL_FROM": '"Kilo, Inc" <gateway@mailhost>',
            "OTEL_TRACES_SAMPLER": "traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.25",
            "OTEL_BSP_MAX_QUEUE_SIZE": "100",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "100",
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x,b=",
            "PROVIDER_BASE_URL_NEURALWATT_FILE": str(tmp_path / "url"),
        }.items():
            environment.setenv(name, value)
        found = settings()
        assert "[2001:db8::1]" in found["ALLOWED_HOSTS"]
        assert found["OIDC_EMAIL_DOMAINS"] == {"example.com", "intern"}
        assert found["PROVIDER_BASE_URLS"] == {"neuralwatt": "http://127.0.0.1:9/v1"}
        assert (found["SECURE_HSTS_SECONDS"], found["SECURE_HSTS_INCLUDE_SUBDOMAINS"]) == (31_536_000, False)
        environment.setenv("ALLOWED_HOSTS", "a.example, .b.example,10.1.2.3,[::1],*")
        environment.setenv("EMAIL_FROM", "gateway@b.example")
        environment.setenv("HSTS_SECONDS", "0")
        environment.setenv("HSTS_INCLUDE_SUBDOMAINS", "1")
        found = settings()
        assert found["ALLOWED_HOSTS"] == ["a.example", ".b.example", "10.1.2.3", "[::1]", "*"]
        assert (found["DEFAULT_FROM_EMAIL"], found["SECURE_HSTS_SECONDS"]) == ("gateway@b.example", 0)
        assert found["SECURE_HSTS_INCLUDE_SUBDOMAINS"] is True

    def test_the_documentation_names_them(self) -> None:
        told = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
        for name in set(MALFORMED) - {"PROVIDER_BASE_URL_NOBODY", "PROVIDER_BASE_URL_NEURALWATT"}:
            assert name in told or (name.startswith("OTEL_BSP_") and "`OTEL_BSP_*`" in told), name
        assert [provider_id for provider_id in PROVIDERS if f"`{provider_id}`" not in told] == []


class TestStart:
    """The commands that people start it with."""

    def start(self, *command: str, **variables: str) -> tuple[int, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        ended = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env={**kept, "PORT": str(free_port()), **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.stdout == ""
        return ended.returncode, ended.stderr

    @pytest.mark.parametrize("command", [("-m", "kilo_gateway.serve"), ("manage.py", "check")])
    @pytest.mark.parametrize(
        ("name", "value"),
        [("SECRET_KEY", CANARY), ("DATABASE_URL", f"mysql://root:{CANARY}@db/x"), ("MAX_REQUEST_BYTES", "x")],
    )
    def test_one_line_and_the_end(self, command: tuple[str, ...], name: str, value: str, tmp_path: Path) -> None:
        variables = {"DATABASE_URL": "postgresql://nobody@127.0.0.1/none", "DATA_DIR": str(tmp_path), name: value}
        code, told = self.start(*command, **variables)
        assert code == 1
        assert told.startswith("Configuration error: ")
        assert name in told
        assert told.count("\n") == 1
        assert CANARY not in told

    @pytest.mark.parametrize(
        ("name", "value"),
        [("WORKERS", "0"), ("THREADS", "many"), ("PORT", "70000"), ("MIGRATE", "perhaps"), ("HOST", "no address")],
    )
    def test_the_servers_own_settings(self, name: str, value: str, tmp_path: Path) -> None:
        variables = {"DATABASE_URL": "postgresql://nobody@127.0.0.1/none", "DATA_DIR": str(tmp_path), name: value}
        code, told = self.start("-m", "kilo_gateway.serve", **variables)
        assert (code, told.count("\n")) == (1, 1)
        assert told.startswith(f"Configuration error: {name} must")

    def test_a_port_that_somebody_listens_at(self, tmp_path: Path) -> None:
        """The workers share their port, and so would two servers share it, request by request."""
        with socket.create_server(("127.0.0.1", 0), reuse_port=True) as listener:
            port = listener.getsockname()[1]
            variables = {"DATABASE_URL": "postgresql://nobody@127.0.0.1/none", "DATA_DIR": str(tmp_path)}
            code, told = self.start("-m", "kilo_gateway.serve", PORT=str(port), **variables)
        assert (code, told.count("\n")) == (1, 1)
        assert told.startswith(f"Configuration error: PORT: nothing can listen at 127.0.0.1:{port}")

    def test_one_port_for_two_purposes(self, tmp_path: Path) -> None:
        port = str(free_port())
        variables = {"DATABASE_URL": "postgresql://nobody@127.0.0.1/none", "DATA_DIR": str(tmp_path)}
        code, told = self.start("-m", "kilo_gateway.serve", PORT=port, METRICS_PORT=port, **variables)
        assert (code, told) == (1, "Configuration error: METRICS_PORT must be another port than PORT.\n")

    def test_no_database(self, tmp_path: Path) -> None:
        code, told = self.start("-m", "kilo_gateway.serve", DATA_DIR=str(tmp_path))
        assert (code, told.count("\n")) == (1, 1)
        assert told.startswith("Configuration error: DATABASE_URL is not set.")


class TestKeptSecret:
    def test_it_works(self, tmp_path: Path) -> None:
        path = tmp_path / "a" / "b" / "secret"
        assert kept_secret(path, lambda: "first") == "first"
        assert kept_secret(path, lambda: "second") == "first"
        assert [entry.name for entry in path.parent.iterdir()] == ["secret"]

    @pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
    def test_only_this_user_can_read_it(self, tmp_path: Path, mask: int) -> None:
        before = os.umask(mask)
        try:
            kept_secret(tmp_path / "secret", lambda: "text")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600

    def test_one_that_fails_leaves_nothing_that_counts(self, tmp_path: Path) -> None:
        def failing() -> str:
            raise RuntimeError("no randomness")

        with pytest.raises(RuntimeError):
            kept_secret(tmp_path / "secret", failing)
        assert list(tmp_path.iterdir()) == []
        assert kept_secret(tmp_path / "secret", lambda: "text") == "text"

    def test_a_place_that_cannot_hold_it(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("x")
        (tmp_path / "directory").mkdir()
        (tmp_path / "binary").write_bytes(b"\xff")
        for path in (
            tmp_path / "file" / "secret",
            tmp_path / "directory",
            tmp_path / "binary",
            Path("/proc/none/secret"),
        ):
            with pytest.raises(SettingError, match="DATA_DIR must be a directory") as caught:
                kept_secret(path, lambda: CANARY)
            assert CANARY not in str(caught.value)

    def test_threads_agree(self, tmp_path: Path) -> None:
        """Sixteen that have all found none, and have all made one."""
        path, found, made = tmp_path / "secret", [], threading.Barrier(16)

        def make() -> str:
            return f"secret of {made.wait(10)}"

        threads = [threading.Thread(target=lambda: found.append(kept_secret(path, make))) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert found == [path.read_text()] * 16
        assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]

    def test_processes_agree(self, tmp_path: Path) -> None:
        """Sixteen processes, each held back in the middle, until all of them have found none."""
        program = (
            "import os, sys\n"
            "from pathlib import Path\n"
            "from kilo_gateway.env import kept_secret\n"
            "def make():\n"
            "    print('ready', flush=True)\n"
            "    sys.stdin.readline()\n"
            "    return f'secret of {os.getpid()}'\n"
            "print(kept_secret(Path(sys.argv[1]), make))\n"
        )
        path = tmp_path / "data" / "secret"
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", program, str(path)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(16)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        found = {process.communicate(timeout=30)[0] for process in processes}
        assert found == {f"{path.read_text()}\n"}
        assert [entry.name for entry in path.parent.iterdir()] == ["secret"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
