"""Whether a server could listen where it is told to, found out before it starts."""

from __future__ import annotations

import socket

from kilo_gateway.env import SettingError


def require_free_address(host: str, port: int) -> None:
    """Refuse an address that does not exist here, or that somebody listens at.

    The server itself shares its port between worker processes, and so would share it with another server as well.

    Raises:
        SettingError: names `HOST` or `PORT`, and what to do.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICHOST
        )[0]
    except (OSError, UnicodeError):
        raise SettingError(f"HOST must be an address such as 127.0.0.1, 0.0.0.0 or ::, not {host!r}.") from None
    with socket.socket(family, kind, protocol) as probe:
        # What a server has left behind that ended just now is in nobody's way.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise SettingError(
                f"PORT: nothing can listen at {host}:{port} ({reason}). Choose another one: PORT={port + 10}"
            ) from None
