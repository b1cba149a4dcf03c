"""How `quern serve` ends: every request received in full is answered 200 first; a load or a second signal ends at once."""
import fcntl
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

WORDS = "some text to wait for " * 5
CLIENTS = 8


def wait_until(condition, seconds_max=60):
    end = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < end, f"waited {seconds_max} s"
        time.sleep(0.005)


class Client:
    """Sends requests over one connection that stays open, and notes when each was sent in full and what came of it."""

    def __init__(self, server, inputs):
        self.server = server
        self.body = json.dumps({"input": [f"{i} {WORDS}" for i in range(inputs)]}).encode()
        self.inputs = inputs
        self.connection = None
        self.outcomes = []  # (sent in full at, outcome)

    def once(self):
        """One request; what came of it. A closed connection is opened again for the next one."""
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
            try:
                self.connection.connect()
            except ConnectionRefusedError:
                return self._close("refused")
        sent_at = None
        try:
            self.connection.request("POST", "/v1/embeddings", self.body, {"Content-Type": "application/json"})
            sent_at = time.monotonic()
            response = self.connection.getresponse()
            data = response.read()
        except (http.client.HTTPException, OSError) as error:
            self.outcomes.append((sent_at, type(error).__name__))
            return self._close("closed")
        if response.status == 200:
            assert len(json.loads(data)["data"]) == self.inputs
        self.outcomes.append((sent_at, response.status))
        return self._close(response.status) if response.will_close else response.status

    def _close(self, outcome):
        self.connection.close()
        self.connection = None
        return outcome


def in_threads(actions):
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    return threads


def test_requests_received_before_sigterm_are_answered_200(start):
    server = start()
    clients = [Client(server, 400) for _ in range(CLIENTS)]
    threads = in_threads([client.once for client in clients])
    # All are in: the scrape that asks is itself one of those in flight.
    wait_until(lambda: server.metric("quern_http_requests_in_flight") >= CLIENTS + 1)
    answered_before = sum(len(client.outcomes) for client in clients)
    code = server.stop()
    for thread in threads:
        thread.join()
    assert answered_before < CLIENTS, "too fast to say anything: give the clients more inputs"
    assert code == 0, server.log_text()
    assert [[status for _, status in client.outcomes] for client in clients] == [[200]] * CLIENTS


def test_sigterm_under_load_answers_every_request_received_in_full_with_200(start):
    """New requests all the while. Sent before the signal: 200. After it: 200, or no answer at all, because nobody took it in."""
    server = start("--drain-grace-s", "1")
    clients = [Client(server, 5) for _ in range(CLIENTS)]

    def load(client):
        while client.once() != "refused":
            pass

    threads = in_threads([lambda client=client: load(client) for client in clients])
    wait_until(lambda: all(len(client.outcomes) >= 3 for client in clients))
    signalled_at = time.monotonic()
    code = server.stop()
    for thread in threads:
        thread.join()
    assert code == 0, server.log_text()
    outcomes = [outcome for client in clients for outcome in client.outcomes]
    before = [status for sent_at, status in outcomes if sent_at is not None and sent_at < signalled_at]
    after = [status for sent_at, status in outcomes if sent_at is None or sent_at >= signalled_at]
    assert set(before) == {200}, before
    assert {status for status in after if isinstance(status, int)} == {200}, set(after)


def ready_status(server):
    try:
        urllib.request.urlopen(server.url + "/ready", timeout=5).close()
        return 200
    except urllib.error.HTTPError as error:
        return error.code


def test_while_draining_ready_is_503_and_requests_are_answered(start):
    server = start("--drain-grace-s", "3")
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: ready_status(server) == 503)
    assert len(server.post("/v1/embeddings", {"input": "still served"})["data"]) == 1
    assert server.process.wait(60) == 0, server.log_text()


@pytest.fixture
def slow_model(tiny_model, quern, tmp_path):
    """Takes seconds to get ready: its known answers are many and long."""
    model = tmp_path / "slow"
    shutil.copytree(tiny_model, model)
    long_text = "word " * 60
    lines = subprocess.run([quern, "embed", "--model-path", model], input=f"short\n{long_text}\n", capture_output=True, text=True, check=True).stdout
    short, long = (json.loads(line)["embedding"] for line in lines.splitlines())
    texts = [{"text": "short", "prompt_name": None, "vector": short}] + [{"text": long_text, "prompt_name": None, "vector": long}] * 1500
    (model / "known_answers.json").write_text(json.dumps({"texts": texts}))
    return model


def test_sigterm_while_loading_ends_at_once_with_code_0(quern, slow_model, tmp_path):
    port_file, log = tmp_path / "port", tmp_path / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen([quern, "serve", "--model-path", slow_model, "--port", "0", "--port-file", port_file], stderr=stderr)
    wait_until(lambda: process.poll() is not None or port_file.exists())  # it listens before it is ready
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 0, log.read_text()
    messages = [json.loads(line)["message"] for line in log.read_text().splitlines() if line.startswith("{")]
    assert "listening" in messages and "ready" not in messages, f"the load went on to its end: {messages}"


def test_a_second_signal_ends_at_once(start):
    server = start("--drain-grace-s", "3000")
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: ready_status(server) == 503)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 128 + signal.SIGTERM, server.log_text()


def test_a_stray_signal_does_not_make_it_deaf(start):
    server = start()
    server.process.send_signal(signal.SIGURG)
    assert len(server.post("/v1/embeddings", {"input": "still there"})["data"]) == 1
    assert server.stop() == 0, server.log_text()


def test_a_reader_of_stderr_that_takes_nothing_keeps_no_stop_from_ending(quern, tiny_model, tmp_path):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    port_file = tmp_path / "port"
    process = subprocess.Popen([quern, "serve", "--model-path", tiny_model, "--port", "0", "--port-file", port_file], stderr=writer)
    os.close(writer)
    try:
        wait_until(port_file.exists)
        url = f"http://127.0.0.1:{int(port_file.read_text())}/health"
        for _ in range(200):
            urllib.request.urlopen(url, timeout=10).close()
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(reader)
    assert process.returncode == 0


def test_a_failed_check_ends_the_process_though_a_client_is_connected(quern, slow_model, tmp_path):
    answers = json.loads((slow_model / "known_answers.json").read_text())
    wrong = answers["texts"][-1]
    answers["texts"][-1] = {**wrong, "vector": [-value for value in wrong["vector"]]}  # found last, when the client is in
    (slow_model / "known_answers.json").write_text(json.dumps(answers))
    port_file = tmp_path / "port"
    process = subprocess.Popen([quern, "serve", "--model-path", slow_model, "--port", "0", "--port-file", port_file, "--drain-timeout-s", "3000"],
                               stderr=subprocess.PIPE, text=True)
    wait_until(lambda: process.poll() is not None or port_file.exists())
    with socket.create_connection(("127.0.0.1", int(port_file.read_text()))) as client:
        client.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx")
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "known-answer check" in errors, errors
