"""Raw sockets against the transport: what no polite client does."""

import gzip
import http.client
import json
import signal
import socket
import threading
import time
import zlib

import httpx
import pytest

GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


def embed_bytes(text, extra=b""):
    body = json.dumps({"input": text, "dimensions": 32, "encoding_format": "base64"}).encode()
    return b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\n" + extra + b"Content-Length: %d\r\n\r\n" % len(body) + body


def read_response(stream, method="GET"):
    """One response from a socket file: (status, headers, body)."""
    status_line = stream.readline()
    if not status_line:
        raise EOFError("the server closed the connection")
    status = int(status_line.split()[1])
    headers = http.client.parse_headers(stream)
    length = int(headers.get("content-length", 0)) if method != "HEAD" else 0
    return status, headers, stream.read(length)


def at_eof(sock):
    sock.settimeout(10)
    try:
        while sock.recv(65536):
            pass
        return True
    except ConnectionResetError:
        return True


def wait_until(condition, what, limit_s=10):
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"waited {limit_s} s for: {what}"
        time.sleep(0.02)


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


def test_slow_head_and_slow_body_are_cut(fake):
    with fake.connect() as slow_head, fake.connect() as slow_body:
        slow_head.sendall(b"GET /health HTTP/1.1\r\nHo")
        slow_body.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        for sock in (slow_head, slow_body):
            status, _, body = read_response(sock.makefile("rb"))
            assert status == 408 and b"did not arrive" in body


def test_half_a_request_then_close(fake):
    for part in (b"GET /hea", b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"):
        with fake.connect() as sock:
            sock.sendall(part)
            sock.shutdown(socket.SHUT_WR)
            assert at_eof(sock)
    assert httpx.get(fake.base_url + "/health").status_code == 200


def test_client_leaving_cancels_its_jobs(fake):
    before = fake.metric("quern_http_disconnects_total")
    gone = lambda: httpx.get(fake.base_url + "/metrics").text.count('quern_requests_total{code="499",route="embeddings"}')
    for _ in range(10):
        sock = fake.connect()
        sock.sendall(embed_bytes(["fail:hang", "fail:hang"]))
        wait_until(lambda: fake.metric("quern_http_requests_in_flight") >= 2, "the request to be in flight")
        sock.close()
        wait_until(lambda: fake.metric("quern_http_requests_in_flight") == 1, "the request to be gone")
    assert fake.metric("quern_http_disconnects_total") - before == 10
    wait_until(lambda: gone() == 1, "the 499 to be counted")


def test_connection_limit(start_fake):
    server = start_fake("--connections-max", "8")
    held = []

    def hold_one():  # connections of the start may not be closed yet
        sock = server.connect()
        sock.sendall(GET)
        if read_response(sock.makefile("rb"))[0] == 200:
            held.append(sock)
        return len(held) == 8

    wait_until(hold_one, "8 connections served")
    with server.connect() as extra:
        status, headers, body = read_response(extra.makefile("rb"))
        assert status == 503 and headers["retry-after"] and b"Too many connections" in body
    for sock in held:
        sock.close()
    wait_until(lambda: httpx.get(server.base_url + "/health").status_code == 200, "room again")


def test_no_file_descriptors_left(start_fake):
    import resource

    server = start_fake()
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (40, 40))
    socks = [server.connect() for _ in range(60)]
    stream = socks[0].makefile("rb")

    def accept_failed():
        socks[0].sendall(GET.replace(b"/health", b"/metrics"))
        status, _, text = read_response(stream)
        return status == 200 and b"\nquern_http_accept_errors_total 0\n" not in text

    wait_until(accept_failed, "an accept to fail")
    for sock in socks:
        sock.close()
    wait_until(lambda: httpx.get(server.base_url + "/health").status_code == 200, "accepting again")
    assert server.metric("quern_http_accept_errors_total") > 0


def test_thousand_idle_and_thousand_busy(start_fake):
    server = start_fake()
    idle = [server.connect() for _ in range(1000)]
    busy = [server.connect() for _ in range(1000)]
    streams = [sock.makefile("rb") for sock in busy]
    for _ in range(5):
        for i, sock in enumerate(busy):
            sock.sendall(embed_bytes(f"text {i}"))
        for stream in streams:
            assert read_response(stream)[0] == 200
    assert server.metric("quern_http_connections") >= 2000
    for sock in idle[::97]:
        sock.sendall(GET)
        assert read_response(sock.makefile("rb"))[0] == 200
    for sock in idle + busy:
        sock.close()


def test_vanished_reader_does_not_stall_others(start_fake):
    server = start_fake()
    with server.connect() as sock:
        body = json.dumps({"input": ["x"] * 2048, "encoding_format": "float"}).encode()
        sock.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        for _ in range(20):
            assert httpx.get(server.base_url + "/health", timeout=5).status_code == 200
        assert read_response(sock.makefile("rb"))[0] == 200  # and once it reads, all of it is there


def test_sigterm_under_load_loses_nothing(start_fake):
    server = start_fake("--delay-ms", "5")
    stop = threading.Event()
    answered, lost = [], []

    def load():
        with server.connect() as sock:
            stream = sock.makefile("rb")
            while not stop.is_set():
                try:
                    sock.sendall(embed_bytes("x"))
                    status, headers, _ = read_response(stream)
                except (OSError, EOFError) as error:
                    lost.append(error)
                    return
                answered.append(status)
                if headers.get("connection") == "close":
                    return

    threads = [threading.Thread(target=load) for _ in range(16)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(answered) > 200, "load")
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert not lost, lost
    assert set(answered) == {200}


def test_sigterm_answers_all_of_a_pipeline(start_fake):
    server = start_fake("--delay-ms", "500")
    with server.connect() as sock:
        sock.sendall(b"".join(embed_bytes(f"t{i}") for i in range(40)))  # more than are taken at once
        wait_until(lambda: server.metric("quern_http_requests_in_flight") >= 2, "requests to be in flight")
        server.process.send_signal(signal.SIGTERM)
        stream = sock.makefile("rb")
        assert [read_response(stream)[0] for _ in range(40)] == [200] * 40
    assert server.process.wait(20) == 0


def test_sigterm_waits_for_a_long_request(start_fake):
    server = start_fake("--delay-ms", "1500")
    with server.connect() as sock:
        sock.sendall(embed_bytes("x"))
        wait_until(lambda: server.metric("quern_http_requests_in_flight") >= 2, "the request to be in flight")
        server.process.send_signal(signal.SIGTERM)
        status, headers, _ = read_response(sock.makefile("rb"))
        assert status == 200 and headers["connection"] == "close"
    assert server.process.wait(20) == 0
