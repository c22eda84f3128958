"""Custom providers cannot lead into the installation's own network, whatever the address is spelt like."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from byok import addresses
from byok.addresses import (
    BadBaseUrl,
    ForbiddenAddress,
    Reach,
    check_base_url,
    connect_checked,
    normal_base_url,
    reach,
)

PUBLIC = "93.184.215.14"
PRIVATE = ["127.0.0.1", "127.8.9.10", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"]
PRIVATE_6 = ["::1", "fc00::1", "fd12:3456::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1"]
NEVER = [
    "0.0.0.0",  # noqa: S104 - refused
    "0.1.2.3",
    "169.254.169.254",
    "169.254.1.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
]
NEVER_6 = [
    "::",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "ff02::1",
    "::127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0.0.0.0",
    "64:ff9b::169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "100::1",
    "4000::1",
]
# Spellings of 127.0.0.1 that the resolver of the system takes.
ODD_LOOPBACK = ["127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.0.0.1"]


class Listener:
    """A server that counts who comes."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self.connections = 0
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            connection.close()

    def close(self) -> None:
        """All connections up to now are counted when this returns."""
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.recv(1)
        self.connections -= 1
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


@pytest.fixture
def listener() -> Iterator[Listener]:
    yield (running := Listener())
    if running._thread.is_alive():
        running.close()


class Answers:
    """A resolver that gives one list of addresses after the other, the last one for good."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: str, port: int) -> list[tuple[int, Any]]:
        self.asked += 1
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            (socket.AF_INET6, (text, port, 0, 0)) if ":" in text else (socket.AF_INET, (text, port)) for text in found
        ]


@pytest.fixture
def private_allowed(settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True


class TestReach:
    @pytest.mark.parametrize("text", [PUBLIC, "1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1111"])
    def test_the_internet_is_public(self, text: str) -> None:
        assert reach(ip_address(text)) is Reach.PUBLIC

    @pytest.mark.parametrize("text", [f"::ffff:{PUBLIC}", f"64:ff9b::{PUBLIC}"])
    def test_another_form_of_a_public_address_is_public(self, text: str) -> None:
        assert reach(ip_address(text)) is Reach.PUBLIC

    @pytest.mark.parametrize("text", [*PRIVATE, *PRIVATE_6])
    def test_one_s_own_networks_are_private(self, text: str) -> None:
        assert reach(ip_address(text)) is Reach.PRIVATE

    @pytest.mark.parametrize("text", [*NEVER, *NEVER_6])
    def test_what_nobody_may_reach(self, text: str) -> None:
        assert reach(ip_address(text)) is Reach.NEVER

    @given(st.ip_addresses())
    def test_what_is_public_is_so_in_the_view_of_the_standard_library(self, address: IPv4Address | IPv6Address) -> None:
        if reach(address) is Reach.PUBLIC:
            judged = getattr(address, "ipv4_mapped", None) or address
            assert judged.is_global
            assert not judged.is_multicast

    @given(st.ip_addresses(v=4))
    def test_no_ipv6_form_reaches_farther_than_the_ipv4_address_in_it(self, inner: IPv4Address) -> None:
        forms = [(0xFFFF << 32), int(IPv6Address("64:ff9b::"))]
        assert {reach(IPv6Address(form | int(inner))) for form in forms} == {reach(inner)}
        others = [0, int(IPv6Address("64:ff9b:1::")), int(IPv6Address("2001::")), int(IPv6Address("fe80::5efe:0:0"))]
        assert {reach(IPv6Address(form | int(inner))) for form in others if form | int(inner) != 1} == {Reach.NEVER}
        assert reach(IPv6Address((0x2002 << 112) | (int(inner) << 80))) is Reach.NEVER


class TestConnecting:
    @pytest.mark.parametrize("host", [*ODD_LOOPBACK, "localhost", "LOCALHOST", "::ffff:127.0.0.1", "0", "0.0.0.0"])  # noqa: S104
    def test_no_spelling_of_this_machine_is_connected_to(self, listener: Listener, host: str) -> None:
        with pytest.raises(ForbiddenAddress) as caught:
            connect_checked(host, listener.port, 2)
        assert host not in str(caught.value)
        listener.close()
        assert listener.connections == 0

    @pytest.mark.parametrize(
        ("address", "private_too"),
        [*((each, False) for each in [*PRIVATE, *PRIVATE_6]), *product([*NEVER, *NEVER_6], [False, True])],
    )
    def test_no_name_may_lead_to_such_an_address(
        self, monkeypatch: pytest.MonkeyPatch, settings: Any, listener: Listener, address: str, private_too: bool
    ) -> None:
        settings.ALLOW_PRIVATE_UPSTREAMS = private_too
        for found in ([address], [PUBLIC, address], [address, PUBLIC]):
            monkeypatch.setattr(addresses, "resolve", Answers(found))
            with pytest.raises(ForbiddenAddress):
                connect_checked("provider.example.com", listener.port, 2)

    def test_a_name_that_moves_after_it_was_checked_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, listener: Listener
    ) -> None:
        resolver = Answers([PUBLIC], ["127.0.0.1"])
        monkeypatch.setattr(addresses, "resolve", resolver)
        url = f"https://provider.example.com:{listener.port}/v1"
        assert check_base_url(url) == url
        with pytest.raises(ForbiddenAddress):
            connect_checked("provider.example.com", listener.port, 2)
        listener.close()
        assert (resolver.asked, listener.connections) == (2, 0)

    def test_what_was_checked_is_what_is_connected_to(
        self, monkeypatch: pytest.MonkeyPatch, listener: Listener, private_allowed: None
    ) -> None:
        """Resolved once: a second answer, which nobody would check, is never asked for."""
        resolver = Answers(["127.0.0.1"], ["169.254.169.254"])
        monkeypatch.setattr(addresses, "resolve", resolver)
        with connect_checked("provider.example.com", listener.port, 2) as connection:
            assert connection.getpeername() == ("127.0.0.1", listener.port)
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert resolver.asked == 1

    def test_the_next_address_is_tried(
        self, monkeypatch: pytest.MonkeyPatch, listener: Listener, private_allowed: None
    ) -> None:
        monkeypatch.setattr(addresses, "resolve", Answers(["127.0.0.2", "127.0.0.1"]))
        with connect_checked("provider.example.com", listener.port, 2) as connection:
            assert connection.getpeername()[0] == "127.0.0.1"

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "::ffff:127.0.0.1"])
    def test_private_ones_are_opened_by_the_setting(self, listener: Listener, private_allowed: None, host: str) -> None:
        connect_checked(host, listener.port, 2).close()
        listener.close()
        assert listener.connections == 1

    @pytest.mark.parametrize("host", ["a" * 70 + ".example.com", "a..b"])
    def test_a_name_that_cannot_be_asked_for_is_an_ordinary_failure(self, host: str) -> None:
        with pytest.raises(OSError, match="cannot be resolved") as caught:
            connect_checked(host, 443, 1)
        assert not isinstance(caught.value, ForbiddenAddress)

    def test_nobody_listens(self, private_allowed: None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(ConnectionRefusedError):
            connect_checked("127.0.0.1", port, 2)


class TestBaseUrl:
    @pytest.fixture(autouse=True)
    def public_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Names are public here; what is written as an address is that address."""
        real = addresses.resolve

        def resolve(host: str, port: int) -> list[tuple[int, Any]]:
            is_address = ":" in host or host.replace(".", "").isdigit()
            return real(host, port) if is_address else [(socket.AF_INET, (PUBLIC, port))]

        monkeypatch.setattr(addresses, "resolve", resolve)

    @pytest.mark.parametrize(
        ("text", "url"),
        [
            ("https://llm.example.com/v1", "https://llm.example.com/v1"),
            ("  HTTPS://LLM.Example.COM:443/v1/  ", "https://llm.example.com/v1"),
            ("https://llm.example.com:8443", "https://llm.example.com:8443"),
            ("https://llm.example.com./V1//", "https://llm.example.com/V1"),
            ("https://bücher.example/v1", "https://xn--bcher-kva.example/v1"),
            ("https://straße.example", "https://xn--strae-oqa.example"),
            ("https://llm\u3002example\u3002com/v1", "https://llm.example.com/v1"),
            ("https://my_host.example.com/a-b/c~d", "https://my_host.example.com/a-b/c~d"),
            (f"https://{PUBLIC}/v1", f"https://{PUBLIC}/v1"),
            ("https://[2606:4700:0:0::1111]:8443/v1", "https://[2606:4700::1111]:8443/v1"),
        ],
    )
    def test_one_spelling(self, text: str, url: str) -> None:
        assert normal_base_url(text) == url
        assert normal_base_url(url) == url

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "llm.example.com/v1",
            "//llm.example.com",
            "ftp://llm.example.com",
            "file:///etc/passwd",
            "http://llm.example.com/v1",
            "https://",
            "https:///v1",
            "https://user@llm.example.com",
            "https://user:word@llm.example.com",
            "https://@llm.example.com",
            "https://llm.example.com/v1?x=1",
            "https://llm.example.com/v1?",
            "https://llm.example.com/#",
            "https://llm.example.com:0",
            "https://llm.example.com:65536",
            "https://llm.example.com:",
            "https://llm.example.com:x",
            "https://llm.example.com/a/../b",
            "https://llm.example.com/./b",
            "https://llm.example.com//b",
            "https://llm.example.com/a b",
            "https://llm.example.com\\@evil.example.com",
            "https://llm.example.com/\r\nHost: x",
            "https://llm.exa\tmple.com",
            "https://llm.example.com/ü",
            "https://%31%32%37.0.0.1",
            "https://a..b",
            "https://-",
            f"https://{'a' * 64}.example.com",
            f"https://{'a.' * 130}com",
            f"https://llm.example.com/{'a' * 500}",
            "https://[::1",
            "https://[::1]x:80",
            "https://[fe80::1%25eth0]/",
            "https://[v1.x]/",
            "https://1.2.3.4.5",
            "https://256.1.1.1",
            "https://llm.example.0x1",
        ],
    )
    def test_malformed(self, text: str) -> None:
        with pytest.raises(BadBaseUrl) as caught:
            normal_base_url(text)
        assert "word" not in str(caught.value)

    @pytest.mark.parametrize(
        "host",
        [*PRIVATE, *PRIVATE_6, *NEVER, *NEVER_6, *ODD_LOOPBACK, "\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021"],
    )
    @pytest.mark.parametrize("scheme", ["https", "http"])
    def test_no_address_of_the_installation_s_own(self, scheme: str, host: str) -> None:
        with pytest.raises(BadBaseUrl):
            check_base_url(f"{scheme}://{f'[{host}]' if ':' in host else host}:8080/v1")

    @pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.0.0.1", "[fd12:3456::1]", "\uff11\uff12\uff17.0.0.1"])
    def test_private_ones_are_opened_by_the_setting(self, private_allowed: None, host: str) -> None:
        assert check_base_url(f"http://{host}:8080/v1").startswith("http://")
        assert check_base_url(f"https://{host}").startswith("https://")

    @pytest.mark.parametrize("host", [*NEVER, *NEVER_6])
    def test_the_setting_does_not_open_the_others(self, private_allowed: None, host: str) -> None:
        with pytest.raises(BadBaseUrl):
            check_base_url(f"http://{f'[{host}]' if ':' in host else host}/latest/meta-data")

    def test_a_private_name_and_one_that_does_not_exist_look_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nobody(host: str, port: int) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

        told = []
        for resolver in (nobody, Answers(["10.0.0.1"]), Answers([])):
            monkeypatch.setattr(addresses, "resolve", resolver)
            with pytest.raises(BadBaseUrl) as caught:
                check_base_url("https://internal.example.com")
            told.append(str(caught.value))
        assert len(set(told)) == 1


def _spelt(address: IPv4Address, parts: int, bases: list[str]) -> str:
    """An IPv4 address as `inet_aton` takes it: in one to four numbers, each in a base of its own."""
    octets = list(address.packed)
    numbers = [*octets[: parts - 1], int.from_bytes(octets[parts - 1 :], "big")]
    return ".".join(format_number(number, base) for number, base in zip(numbers, bases, strict=False))


def format_number(number: int, base: str) -> str:
    return {"decimal": f"{number}", "hex": f"0x{number:x}", "HEX": f"0X{number:X}", "octal": f"0{number:o}"}[base]


FORBIDDEN_NETWORKS = [ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8"), ip_network("169.254.0.0/16")]
forbidden = st.sampled_from(FORBIDDEN_NETWORKS).flatmap(lambda network: st.ip_addresses(network=network))
bases = st.lists(st.sampled_from(["decimal", "hex", "HEX", "octal"]), min_size=4, max_size=4)


@given(forbidden, st.integers(1, 4), bases, st.sampled_from(["", "."]))
@example(IPv4Address("127.0.0.1"), 1, ["decimal"] * 4, "")
def test_no_spelling_of_a_forbidden_address_gets_through(
    address: IPv4Address, parts: int, bases: list[str], dot: str
) -> None:
    host = _spelt(address, parts, bases)
    with pytest.raises(BadBaseUrl):
        check_base_url(f"https://{host}{dot}/v1")
    # The system's resolver takes them all for what they are.
    with pytest.raises(ForbiddenAddress):
        connect_checked(host, 9, 1)


@given(st.text(max_size=40))
def test_whatever_is_written_has_one_spelling_or_none(text: str) -> None:
    for candidate in (text, f"https://{text}", f"https://llm.example.com/{text}"):
        try:
            url = normal_base_url(candidate)
        except BadBaseUrl:
            continue
        assert normal_base_url(url) == url
        assert url.isascii()
        assert url.startswith("https://")
        assert not set(url) & set(" ?#@\\")
