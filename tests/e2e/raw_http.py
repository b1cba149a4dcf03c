"""HTTP by hand, for what no polite client does."""

import http.client
import json
import time

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
