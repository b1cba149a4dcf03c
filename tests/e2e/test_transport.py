"""Raw sockets against the transport: the forms of messages."""

import gzip
import json
import socket
import threading
import time
import zlib

import httpx
import pytest
from raw_http import GET, at_eof, embed_bytes, read_response, wait_until


def test_pipelining_answers_in_order(fake):
    texts = [f"request {i}" for i in range(200)]
    alone = [httpx.post(fake.base_url + "/v1/embeddings", json={"input": t, "dimensions": 32, "encoding_format": "base64"}).json()
             for t in texts[:3]]
    with fake.connect() as sock:
        stream = sock.makefile("rb")
        threading.Thread(target=sock.sendall, args=(b"".join(embed_bytes(t) for t in texts),)).start()
        answers = [read_response(stream) for _ in texts]
        assert all(status == 200 for status, _, _ in answers)
        assert [json.loads(body) for _, _, body in answers[:3]] == alone
        assert len({body for _, _, body in answers}) == 200


def test_pipelining_with_slow_answers_keeps_order(start_fake):
    server = start_fake("--delay-ms", "20")
    with server.connect() as sock:
        stream = sock.makefile("rb")
        sock.sendall(b"".join(embed_bytes(f"t{i}", b"x-request-id: id-%d\r\n" % i) + GET for i in range(30)))
        for i in range(30):
            status, headers, _ = read_response(stream)
            assert status == 200 and headers["x-request-id"] == f"id-{i}"
            assert read_response(stream)[2] == b'{"status":"ok"}'


def test_one_byte_at_a_time(fake):
    with fake.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in embed_bytes("slow"):
            sock.sendall(bytes([byte]))
        assert read_response(sock.makefile("rb"))[0] == 200


def test_chunked_body_and_trailers(fake):
    body = json.dumps({"input": "abc"}).encode()
    with fake.connect() as sock:
        stream = sock.makefile("rb")
        for trailer in (b"", b"X-Trailer: 1\r\n"):
            sock.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            for i in range(0, len(body), 4):
                sock.sendall(b"%x\r\n%s\r\n" % (len(body[i:i + 4]), body[i:i + 4]))
            sock.sendall(b"0\r\n" + trailer + b"\r\n")
            status, _, answer = read_response(stream)
            assert status == 200 and json.loads(answer)["usage"]["prompt_tokens"] == 4


def test_empty_chunked_body_one_byte_at_a_time(fake):
    with fake.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = sock.makefile("rb")
        for byte in b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n":
            sock.sendall(bytes([byte]))
            time.sleep(0.002)
        assert read_response(stream)[0] == 400
        sock.sendall(GET)
        assert read_response(stream)[0] == 200


def test_expect_continue(fake):
    with fake.connect() as sock:
        stream = sock.makefile("rb")
        head, body = embed_bytes("a", b"Expect: 100-continue\r\n").split(b"\r\n\r\n")
        sock.sendall(head + b"\r\n\r\n")
        assert stream.readline() == b"HTTP/1.1 100 Continue\r\n" and stream.readline() == b"\r\n"
        sock.sendall(body)
        assert read_response(stream)[0] == 200
        sock.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
        assert read_response(stream)[0] == 413


def test_expect_is_nothing_in_http_1_0(fake):
    with fake.connect() as sock:
        head, body = embed_bytes("a", b"Expect: 100-continue\r\n").replace(b"HTTP/1.1", b"HTTP/1.0").split(b"\r\n\r\n")
        sock.sendall(head + b"\r\n\r\n")
        wait_until(lambda: fake.metric("quern_http_connections") >= 2, "the head to be read")
        sock.sendall(body)
        assert read_response(sock.makefile("rb"))[0] == 200  # and not 100


def test_target_forms(fake):
    with fake.connect() as sock:
        stream = sock.makefile("rb")
        sock.sendall(GET.replace(b"/health", b"http://example.com/health"))
        assert read_response(stream)[2] == b'{"status":"ok"}'
        sock.sendall(b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, _ = read_response(stream)
        assert status == 204 and "POST" in headers["allow"]
        for bad in (b"health", b"*", b"ftp://x/", b"http://"):
            with fake.connect() as other:
                other.sendall(GET.replace(b"/health", bad))
                assert read_response(other.makefile("rb"))[0] == 400


def test_empty_lines_before_a_request(fake):
    with fake.connect() as sock:
        stream = sock.makefile("rb")
        for request in (b"\r\n" + embed_bytes("a"), b"\r\n\r\n" + GET, b"\r", b"\n" + GET):
            sock.sendall(request)
            if len(request) > 1:
                assert read_response(stream)[0] == 200


def test_compressed_bodies(start_fake):
    server = start_fake("--body-bytes-max", "100000")
    url = server.base_url + "/v1/embeddings"
    text = json.dumps({"input": "hello", "dimensions": 32}).encode()
    plain = httpx.post(url, content=text).json()
    raw = zlib.compressobj(wbits=-15)
    for coding, body in (("gzip", gzip.compress(text)), ("x-gzip", gzip.compress(text)), ("deflate", zlib.compress(text)),
                         ("deflate", raw.compress(text) + raw.flush()), ("identity", text)):
        answer = httpx.post(url, content=body, headers={"Content-Encoding": coding})
        assert answer.status_code == 200 and answer.json() == plain, coding
    for coding, body, status in (("br", text, 415), ("gzip, gzip", text, 415), ("gzip", text, 400), ("gzip", gzip.compress(text)[:-3], 400),
                                 ("gzip", gzip.compress(b" " * 100_001), 413)):
        answer = httpx.post(url, content=body, headers={"Content-Encoding": coding})
        assert answer.status_code == status, (coding, answer.text)
        assert status == 413 or "Content-Encoding" in answer.json()["error"]["message"]
        assert (answer.headers.get("accept-encoding") == "gzip, deflate") == (status == 415)
    assert httpx.post(url, content=gzip.compress(b" " * 99_000 + text), headers={"Content-Encoding": "gzip"}).status_code == 200


@pytest.mark.parametrize("delay_ms,version", [(0, b"1.1"), (0, b"1.0"), (1500, b"1.1")])
def test_half_closed_client_gets_its_answer(start_fake, delay_ms, version):
    server = start_fake("--delay-ms", str(delay_ms))
    with server.connect() as sock:
        sock.sendall(embed_bytes("a").replace(b"HTTP/1.1", b"HTTP/" + version))
        sock.shutdown(socket.SHUT_WR)
        stream = sock.makefile("rb")
        status, headers, body = read_response(stream)
        if status == 100:  # asked whether it is still there
            assert delay_ms
            status, headers, body = read_response(stream)
        assert status == 200 and json.loads(body)["data"] and stream.read() == b""
    assert server.metric("quern_http_disconnects_total") == 0


@pytest.mark.parametrize("garbage,status", [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50 + b"\r\n\r\n", 400),
    (b"nonsense\r\n\r\n", 400),
    (b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", 400),
    (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: magic\r\n\r\n", 417),
    (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    (b"POST /v1/embeddings HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
    (b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    (b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
])
def test_garbage_is_refused_with_a_clear_error(fake, garbage, status):
    with fake.connect() as sock:
        sock.sendall(garbage)
        got, headers, body = read_response(sock.makefile("rb"))
        assert got == status and headers["connection"] == "close"
        assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
        assert at_eof(sock)
    assert httpx.get(fake.base_url + "/health").status_code == 200


def test_connection_survives_api_errors(fake):
    with fake.connect() as sock:
        stream = sock.makefile("rb")
        for bad in (b"{", b'{"input":""}', b'{"input":"a","model":"nope"}', b"[" * 5000, b""):
            sock.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(bad) + bad)
            assert read_response(stream)[0] in (400, 404)
            sock.sendall(embed_bytes("good"))
            assert read_response(stream)[0] == 200
        sock.sendall(b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\nBREW /health HTTP/1.1\r\nHost: x\r\n\r\n" + GET)
        assert read_response(stream, "HEAD")[0] == 200
        assert read_response(stream)[0] == 405
        assert read_response(stream)[0] == 200


def test_keep_alive_rules(fake):
    for request, stays in ((b"GET /health HTTP/1.0\r\n\r\n", False), (b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
                           (b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", False), (GET, True)):
        with fake.connect() as sock:
            sock.sendall(request)
            stream = sock.makefile("rb")
            assert read_response(stream)[0] == 200
            if stays:
                sock.sendall(GET)
                assert read_response(stream)[0] == 200
            else:
                assert stream.read() == b""
