"""Where an upstream's answer begins and ends, however it comes and whatever is wrong with it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.proxy.http1 import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_LINE,
    Chunked,
    Framing,
    MalformedAnswer,
    Sized,
    UntilClose,
    head_end,
    parse_head,
)

OK = b"HTTP/1.1 200 OK\r\n"


def framing_of(*lines: bytes, status_line: bytes = OK) -> Framing:
    return parse_head(status_line + b"\r\n".join(lines)).framing()


def fed(framing: Framing, *pieces: bytes) -> bytes:
    return b"".join(framing.feed(piece) for piece in pieces)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


places = st.lists(st.integers(min_value=0, max_value=10_000), max_size=12)
extensions = st.sampled_from([b"", b";a=b", b' ; name="quoted; text"', b"\t"])
trailers = st.sampled_from([b"", b"x-checksum: 1\r\n", b"a: 1\r\nb: 2\r\n"])


class TestChunks:
    @given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), extensions, trailers, places, st.booleans())
    def test_the_payload_is_the_same_however_it_is_cut(
        self, payloads: list[bytes], extension: bytes, trailer: bytes, places: list[int], upper: bool
    ) -> None:
        size = b"%X" if upper else b"%x"
        chunks = b"".join(size % len(payload) + extension + b"\r\n" + payload + b"\r\n" for payload in payloads)
        framing = Chunked()
        assert fed(framing, *cut(chunks + b"0\r\n" + trailer + b"\r\n", places)) == b"".join(payloads)
        assert framing.is_complete
        assert not framing.has_excess

    @pytest.mark.parametrize(
        "broken",
        [
            b"no size\r\n",
            b"-5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"1_0\r\n",
            b" 5\r\nhello\r\n",
            b"\r\n",
            b";a=b\r\n",
            b"5\nhello\r\n",
            b"5;a=\nb\r\nhello\r\n",
            b"5;a=\rb\r\nhello\r\n",
            b"5\r\nhello, world\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"f" * 16 + b"\r\n",
            b"5;" + b"x" * MAX_LINE,
            b"0\r\n" + b"x: y\r\n" * (MAX_HEADERS + 1),
            b"0\r\n" + b"x" * MAX_LINE,
        ],
    )
    def test_a_broken_frame_is_refused(self, broken: bytes) -> None:
        with pytest.raises(MalformedAnswer):
            fed(Chunked(), broken)
        with pytest.raises(MalformedAnswer):
            fed(Chunked(), *(broken[at : at + 1] for at in range(len(broken))))

    def test_a_huge_size_is_only_a_number(self) -> None:
        framing = Chunked()
        assert fed(framing, b"f" * 15 + b"\r\nthe beginning") == b"the beginning"
        with pytest.raises(MalformedAnswer):
            framing.connection_ended()

    @pytest.mark.parametrize("seen", [b"", b"5", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n", b"5\r\nhello\r\n0"])
    def test_an_end_within_the_chunks_is_too_early(self, seen: bytes) -> None:
        framing = Chunked()
        framing.feed(seen)
        with pytest.raises(MalformedAnswer):
            framing.connection_ended()

    def test_an_end_after_the_last_chunk_is_none(self) -> None:
        framing = Chunked()
        assert fed(framing, b"5\r\nhello\r\n0\r\n") == b"hello"
        framing.connection_ended()
        assert framing.is_complete

    def test_what_follows_is_noticed(self) -> None:
        framing = Chunked()
        assert fed(framing, b"5\r\nhello\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n") == b"hello"
        assert framing.is_complete
        assert framing.has_excess


class TestOtherBodies:
    @given(st.binary(max_size=500), places)
    def test_a_length(self, payload: bytes, places: list[int]) -> None:
        framing = Sized(len(payload))
        assert fed(framing, *cut(payload, places)) == payload
        assert framing.is_complete
        assert not framing.has_excess

    def test_more_than_the_length(self) -> None:
        framing = Sized(5)
        assert fed(framing, b"hel", b"lo, world") == b"hello"
        assert framing.is_complete
        assert framing.has_excess

    def test_less_than_the_length(self) -> None:
        framing = Sized(5)
        framing.feed(b"hell")
        with pytest.raises(MalformedAnswer):
            framing.connection_ended()

    def test_until_the_connection_ends(self) -> None:
        framing = UntilClose()
        assert fed(framing, b"a", b"b") == b"ab"
        assert not framing.is_complete
        framing.connection_ended()
        assert framing.is_complete


class TestWhereTheBodyEnds:
    @pytest.mark.parametrize(
        ("lines", "kind"),
        [
            ([b"content-length: 5"], Sized),
            ([b"Content-Length:5"], Sized),
            ([b"content-length: 5", b"Content-Length: 5"], Sized),
            ([b"content-length: 5, 5"], Sized),
            ([b"transfer-encoding: chunked"], Chunked),
            ([b"Transfer-Encoding: Chunked"], Chunked),
            ([b"transfer-encoding : chunked"], Chunked),
            ([b"content-length: 5", b"transfer-encoding: chunked"], Chunked),
            ([b"transfer-encoding: identity", b"content-length: 5"], Sized),
            ([b"content-type: text/plain"], UntilClose),
        ],
    )
    def test_it_is_said_in_one_way(self, lines: list[bytes], kind: type) -> None:
        assert isinstance(framing_of(*lines), kind)

    @pytest.mark.parametrize(
        "lines",
        [
            [b"content-length: 5", b"content-length: 6"],
            [b"content-length: 5, 6"],
            [b"content-length: -5"],
            [b"content-length: +5"],
            [b"content-length: 0x5"],
            [b"content-length: 5 5"],
            [b"content-length: 1_0"],
            [b"content-length: \xb2"],
            [b"content-length:"],
            [b"content-length: " + b"9" * 19],
            [b"transfer-encoding: gzip, chunked"],
            [b"transfer-encoding: chunked", b"transfer-encoding: chunked"],
            [b"transfer-encoding: chunked", b"transfer-encoding: identity"],
            [b"transfer-encoding:\r\n gzip,\r\n chunked"],
        ],
    )
    def test_what_is_ambiguous_is_refused(self, lines: list[bytes]) -> None:
        with pytest.raises(MalformedAnswer):
            framing_of(*lines)

    @pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
    def test_some_answers_have_no_body_whatever_they_say(self, status: bytes) -> None:
        framing = framing_of(b"content-length: 5", status_line=b"HTTP/1.1 " + status + b"\r\n")
        assert framing.is_complete

    @pytest.mark.parametrize(
        ("head", "kept"),
        [
            (b"HTTP/1.1 200 OK\r\ncontent-length: 5", True),
            (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 5", False),
            (b"HTTP/1.1 200 OK\r\nconnection: x\r\nConnection: Close", False),
            (b"HTTP/1.0 200 OK\r\ncontent-length: 5", False),
            (b"HTTP/1.0 200 OK\r\nconnection: Keep-Alive\r\ncontent-length: 5", True),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked", False),
        ],
    )
    def test_whether_the_connection_is_kept(self, head: bytes, kept: bool) -> None:
        assert parse_head(head).keeps_connection is kept


class TestHeads:
    @pytest.mark.parametrize(
        ("data", "found"),
        [
            (OK + b"a: b\r\n\r\nbody", (21, 25)),
            (b"HTTP/1.1 200 OK\na: b\n\nbody", (20, 22)),
            (OK + b"a: b\r\n\r", None),
            (OK, None),
        ],
    )
    def test_where_one_ends(self, data: bytes, found: tuple[int, int] | None) -> None:
        assert head_end(data, 0) == found

    def test_one_without_an_end(self) -> None:
        with pytest.raises(MalformedAnswer):
            head_end(OK + b"x: " + b"y" * MAX_HEAD_BYTES, 0)

    def test_a_value_over_several_lines_is_one_value(self) -> None:
        head = parse_head(OK + b"content-type: text/event-stream;\r\n\t charset=utf-8\r\nx: y")
        assert head.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert head.headers["x"] == "y"

    def test_the_first_of_two_counts(self) -> None:
        assert parse_head(OK + b"Content-Type: a/b\r\ncontent-type: c/d").headers["content-type"] == "a/b"

    @pytest.mark.parametrize("line", [b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 200 \xfc", b"HTTP/1.9 200 OK"])
    def test_a_status_line(self, line: bytes) -> None:
        assert parse_head(line + b"\r\na: b").status == 200

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"HTTP/2 200 OK",
            b"HTTP/1.1 20",
            b"HTTP/1.1 2000 OK",
            b"HTTP/1.1 +20 OK",
            b"http/1.1 200 OK",
            b" HTTP/1.1 200 OK",
            b"ICY 200 OK",
            OK + b"no colon",
            OK + b": no name",
            OK + b"a: b\r\n".join([b""] * (MAX_HEADERS + 2)) + b"a: b",
        ],
    )
    def test_what_is_no_head(self, data: bytes) -> None:
        with pytest.raises(MalformedAnswer):
            parse_head(data)

    @given(st.binary(max_size=300))
    def test_nothing_else_is_raised(self, data: bytes) -> None:
        for start in (b"", OK):
            try:
                parse_head(start + data).framing().feed(data)
            except MalformedAnswer:
                continue
