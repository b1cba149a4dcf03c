"""Raw sockets against the transport: connections that are slow, leave, are too many, or meet a stop."""

import json
import signal
import socket
import threading

import httpx
from raw_http import GET, at_eof, embed_bytes, read_response, wait_until


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
