#!/usr/bin/env python3
"""Clients that leave, hostile ones and normal ones against `quern serve`, for MINUTES; then a verdict.

Passes when the resident memory of the end is within 2% of that of the first five minutes, the gauge of live calls is 0 once all
have left, no hostile request was answered 200 or 500, every normal answer had the bits of its first one, and clients left as fast as
100,000 an hour. Everything stays on 127.0.0.1. usage: soak_leave.py MINUTES [--quern build/release/quern] [--model-path DIR] [--json FILE] [-- FLAGS OF serve]
"""
import argparse
import collections
import http.client
import json
import pathlib
import random
import re
import socket
import statistics
import struct
import sys
import threading
import time

from quern_server import Server, run_tool

ROOT = pathlib.Path(__file__).resolve().parents[1]
GAUGE = "quern_calls_live"
GROWTH_MAX = 0.02
FIRST_SECONDS = 300
SAMPLE_SECONDS = 5
LEAVING_PER_HOUR_MIN = 100_000
GAUGE_SECONDS_MAX = 60  # after the last client has gone
TEXTS = ["The capital of China is Beijing.", "北京是中国的首都。", "How do I sort a list in Python?", "def add(a, b): return a + b",
         "It is sunny and warm today.", "1 + 1 = 2", "naïve café", "word " * 60]


def request_bytes(body, method="POST", path="/v1/embeddings", headers=""):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Outcomes:
    """Counts by name, and the first complaints. Any thread."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.complaints = []

    def count(self, name):
        with self.lock:
            self.counts[name] += 1

    def complain(self, text):
        with self.lock:
            self.counts["complaints"] += 1
            if len(self.complaints) < 20:
                self.complaints.append(text)


class Client(threading.Thread):
    """Calls once() until told to stop, at most `limit` times."""

    def __init__(self, port, outcomes, stopping, number, limit, pause_s):
        super().__init__(daemon=True)
        self.port, self.outcomes, self.stopping, self.limit, self.pause_s = port, outcomes, stopping, limit, pause_s
        self.random = random.Random(number)

    def run(self):
        for _ in range(self.limit):
            if self.stopping.wait(self.pause_s * self.random.random() * 2):
                return
            try:
                self.once()
            except OSError as error:  # the server may close on us at any time; a server that is gone is seen by the sampler
                self.outcomes.count(f"{type(self).__name__}: {type(error).__name__}")
            except Exception as error:  # noqa: BLE001 - a client that died would make the soak pass
                self.outcomes.complain(f"{type(self).__name__}: {error!r}")

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)


class Normal(Client):
    """The same requests again and again; each answer must be the first one, bit for bit."""

    REQUESTS = ([{"input": text, "encoding_format": "base64"} for text in TEXTS] +
                [{"input": TEXTS[:n], "encoding_format": "base64", "dimensions": 64} for n in range(2, 6)] +
                [{"input": TEXTS[0], "prompt_name": "query"}, {"input": TEXTS * 4, "encoding_format": "base64"}])
    first = {}  # number of the request -> its vectors; filled before any client starts

    @classmethod
    def learn(cls, server):
        for number, body in enumerate(cls.REQUESTS):
            cls.first[number] = server.post("/v1/embeddings", body)["data"]

    def once(self):
        number = self.random.randrange(len(self.REQUESTS))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request("POST", "/v1/embeddings", json.dumps(self.REQUESTS[number]), {"Content-Type": "application/json"})
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            return self.outcomes.complain(f"normal request {number}: {error!r}")
        finally:
            connection.close()
        self.outcomes.count(f"normal: {response.status}")
        if response.status != 200:
            self.outcomes.complain(f"normal request {number}: {response.status} {data[:200]}")
        elif json.loads(data)["data"] != self.first[number]:
            self.outcomes.complain(f"normal request {number}: another answer than the first")


class Leaving(Client):
    """Disconnects at every stage of a request; half of the time with a reset."""

    BODIES = [{"input": TEXTS[0]}, {"input": TEXTS * 2, "encoding_format": "base64"}, {"input": TEXTS * 16}, {"input": TEXTS * 32, "dimensions": 32}]

    def once(self):
        # Large bodies and whole answers are the fewer, since they are computed: the leaving is what is soaked.
        data = request_bytes(*self.random.choices(self.BODIES, [20, 10, 1, 1]))
        stage = self.random.choice(["after some bytes", "after sending", "while waiting", "after half-closing"])
        if self.random.random() < 0.06:
            stage = "while reading"
        with self.connect() as sock:
            if self.random.random() < 0.5:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if stage == "after some bytes":
                sock.sendall(data[:self.random.randrange(len(data))])
            else:
                sock.sendall(data)
            if stage == "while waiting":
                self.stopping.wait(self.random.random() * 0.1)
            elif stage == "while reading":
                sock.recv(self.random.choice([1, 100, 5000]))
            elif stage == "after half-closing":
                sock.shutdown(socket.SHUT_WR)
                self.stopping.wait(self.random.random() * 0.02)
        self.outcomes.count(f"left {stage}")


class Hostile(Client):
    """What no client should send. Any 4xx, 501, 503, 505 or a closed connection will do; 200 and 500 will not."""

    def once(self):
        kind = self.random.choice([self.bad_json, self.big_array, self.long_text, self.half_body, self.huge_head, self.wrong_method, self.slow_loris,
                                   self.garbage])
        with self.connect() as sock:
            sock.settimeout(60)
            answer = kind(sock)
        if answer is None:
            return self.outcomes.count(f"hostile {kind.__name__}: left")
        status = re.match(rb"HTTP/1\.1 (\d{3}) ", answer)
        name = f"hostile {kind.__name__}: {status.group(1).decode() if status else 'closed'}"
        self.outcomes.count(name)
        if status and status.group(1) in (b"200", b"500"):
            self.outcomes.complain(f"{name}: {answer[:300]}")

    @staticmethod
    def ask(sock, data):
        try:
            sock.sendall(data)
        except OSError:
            pass  # refused before all was read: the answer may be there
        try:
            return sock.recv(4096)
        except OSError:
            return b""

    def bad_json(self, sock):
        bodies = [b'{"input": ', b"[" * 100_000, b'{"input":"\xff\xfe"}', b'{"input":"a","input":"b"}', b'{"input":[1,"a"]}', b"", b"null",
                  b'{"input":"a","model":"' + b"m" * 200_000 + b'"}', b'{"input":"a","dimensions":1e999}', b'{"input":"cut \\ud83d"}']
        return self.ask(sock, request_bytes(self.random.choice(bodies)))

    def big_array(self, sock):
        bodies = [b'{"input":[' + b"1," * 500_000 + b"1]}", b'{"input":[' + b'"a",' * 100_000 + b'"a"]}', b'{"input":[' + b"[1]," * 100_000 + b"[1]]}",
                  b'{"input":"a","x":[' + b"[]," * 100_000 + b'[]],"input":1}']
        return self.ask(sock, request_bytes(self.random.choice(bodies)))

    def long_text(self, sock):
        return self.ask(sock, request_bytes({"input": self.random.choice(["a", "word ", "北京", "a\u0301"]) * 200_000}))

    def half_body(self, sock):
        sock.sendall(request_bytes(b"x" * 2000)[:self.random.randrange(100, 1500)])
        self.stopping.wait(self.random.random())

    def huge_head(self, sock):
        return self.ask(sock, b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X-Padding: " + b"y" * 1_000_000 + b"\r\n\r\n")

    def wrong_method(self, sock):
        method = self.random.choice(["DELETE", "PUT", "TRACE", "PATCH", "GET", "BREW"])
        return self.ask(sock, request_bytes({"input": "a"}, method))

    def slow_loris(self, sock):
        for byte in request_bytes({"input": "slow"})[:40]:
            sock.sendall(bytes([byte]))
            if self.stopping.wait(0.1):
                return

    def garbage(self, sock):
        return self.ask(sock, self.random.randbytes(2000) + b"\r\n\r\n")


def resident_kb(pid):
    return int(re.search(r"^VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M).group(1))


def sample(server, minutes, outcomes):
    """(seconds since the start, resident kB, live calls or None) every few seconds."""
    samples, begin = [], time.monotonic()
    while time.monotonic() - begin < minutes * 60:
        time.sleep(min(SAMPLE_SECONDS, minutes * 60 / 20))
        if server.process.poll() is not None:
            outcomes.complain(f"the server ended with {server.process.returncode}:\n{server.log_text()[-2000:]}")
            break
        samples.append((time.monotonic() - begin, resident_kb(server.process.pid), server.metric(GAUGE, None)))
        if sys.stderr.isatty():
            print(f"\r{samples[-1][0]:6.0f} s  {samples[-1][1]} kB  live calls {samples[-1][2]}  {sum(outcomes.counts.values())} events ", end="", file=sys.stderr)
    return samples


def gauge_at_rest(server):
    """The gauge once it is 0, or what it still is after a while; None where there is none."""
    end = time.monotonic() + GAUGE_SECONDS_MAX
    while (value := server.metric(GAUGE, None)) and time.monotonic() < end:
        time.sleep(0.2)
    return value


def judge(samples, gauge, outcomes):
    """(figures, what is wrong)."""
    seconds = samples[-1][0] if samples else 0
    window = min(FIRST_SECONDS, seconds / 3)
    first = [kb for at, kb, _ in samples if at <= window]
    last = [kb for at, kb, _ in samples if at >= seconds - window]
    wrong = list(outcomes.complaints)
    growth = None
    if first and last:
        growth = statistics.median(last) / max(first) - 1
        if growth > GROWTH_MAX:
            wrong.append(f"resident memory grew by {100 * growth:.1f}%: {max(first)} kB in the first {window:.0f} s, {statistics.median(last)} kB in the last")
    else:
        wrong.append("too few samples of the memory")
    if gauge is None:
        wrong.append(f"the server has no gauge {GAUGE}")
    elif gauge != 0:
        wrong.append(f"{GAUGE} is {gauge:.0f} after every client has gone")
    left = sum(count for name, count in outcomes.counts.items() if name.startswith("left "))
    if left < LEAVING_PER_HOUR_MIN * seconds / 3600:
        wrong.append(f"only {left} clients left in {seconds:.0f} s, which is less than {LEAVING_PER_HOUR_MIN} an hour")
    for what in ("normal: 200", "left while waiting", "hostile bad_json: 400"):
        if not outcomes.counts[what]:
            wrong.append(f"none of: {what}")
    return {"growth": growth, "gauge": gauge, "left": left, "seconds": seconds, "counts": dict(sorted(outcomes.counts.items()))}, wrong


def soak(server, options):
    Normal.learn(server)
    outcomes, stopping = Outcomes(), threading.Event()
    kinds = [Normal] * 2 + [Leaving] * options.leaving_clients + [Hostile] * 2
    pauses = {Normal: 0.02, Leaving: options.leaving_pause_s, Hostile: 0.05}
    clients = [kind(server.port, outcomes, stopping, number, options.requests_max, pauses[kind]) for number, kind in enumerate(kinds)]
    for client in clients:
        client.start()
    try:
        samples = sample(server, options.minutes, outcomes)
    finally:
        stopping.set()
    for client in clients:
        client.join(130)
    gauge = gauge_at_rest(server) if server.process.poll() is None else None
    return samples, *judge(samples, gauge, outcomes)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("minutes", type=float)
    parser.add_argument("--quern", default=ROOT / "build/release/quern")
    parser.add_argument("--model-path", default=ROOT / "models/quern-mini")
    parser.add_argument("--requests-max", type=int, default=1_000_000, help="of each client")
    parser.add_argument("--leaving-clients", type=int, default=32)
    parser.add_argument("--leaving-pause-s", type=float, default=0.05, help="mean pause between two requests of a leaving client")
    parser.add_argument("--json", type=pathlib.Path, help="write samples and figures to this file")
    parser.add_argument("flags", nargs="*", help="more flags of `quern serve`, behind --")
    options = parser.parse_args()
    server = Server([options.quern, "serve", "--model-path", options.model_path, "--log-level", "error", "--read-timeout-s", "3", *options.flags])
    try:
        samples, figures, wrong = soak(server, options)
    finally:
        code = server.stop(120)
    if code != 0:
        wrong.append(f"the server's exit code is {code}")
    if options.json:
        options.json.write_text(json.dumps({**figures, "wrong": wrong, "samples": samples}, indent=1) + "\n")
    for name, count in figures["counts"].items():
        print(f"{count:9d}  {name}")
    print(f"\n{figures['left']} clients left in {figures['seconds']:.0f} s ({LEAVING_PER_HOUR_MIN} an hour are asked for); memory "
          f"{'unknown' if figures['growth'] is None else format(100 * figures['growth'], '+.2f') + '%'}; {GAUGE} {figures['gauge']}")
    print("\n".join(["FAILED:", *wrong]) if wrong else "passed")
    return 1 if wrong else 0


if __name__ == "__main__":
    run_tool(main)
