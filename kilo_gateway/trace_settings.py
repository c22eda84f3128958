"""The variables that OpenTelemetry reads itself. It passes over what it cannot read; here that stops the start."""

from __future__ import annotations

from typing import Final

from kilo_gateway.env import Environment, SettingError

_SAMPLERS: Final = (
    "always_on",
    "always_off",
    "parentbased_always_on",
    "parentbased_always_off",
    "traceidratio",
    "parentbased_traceidratio",
)
_COMPRESSIONS: Final = ("none", "gzip", "deflate")


def check_trace_settings(env: Environment) -> None:
    """Look at each of them that is set.

    Raises:
        SettingError: one is malformed.
    """
    env.choice("OTEL_TRACES_SAMPLER", "parentbased_always_on", _SAMPLERS)
    _check_share(env, "OTEL_TRACES_SAMPLER_ARG")
    for name in ("SCHEDULE_DELAY", "EXPORT_TIMEOUT"):
        env.integer(f"OTEL_BSP_{name}", 1, minimum=1)
    queue = env.integer("OTEL_BSP_MAX_QUEUE_SIZE", 2048, minimum=1)
    env.integer("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, minimum=1, maximum=queue)
    for signal in ("", "TRACES_"):
        env.seconds(f"OTEL_EXPORTER_OTLP_{signal}TIMEOUT", 10.0)
        env.choice(f"OTEL_EXPORTER_OTLP_{signal}COMPRESSION", "none", _COMPRESSIONS)
    env.choice("OTEL_SDK_DISABLED", "false", ("true", "false"))
    for name in ("OTEL_RESOURCE_ATTRIBUTES", "OTEL_EXPORTER_OTLP_HEADERS"):
        if not all(word.partition("=")[0].strip() and "=" in word for word in env.words(name)):
            raise SettingError(f"{name} must list pairs such as name=value.")


def _check_share(env: Environment, name: str) -> None:
    try:
        is_share = 0 <= float(env.text(name, "1")) <= 1
    except ValueError:
        is_share = False
    if not is_share:
        raise SettingError(f"{name} must be a number from 0 to 1.")
