"""A server process for tools and tests: starts on a free port, waits until it is ready, stops. Standard library only.

The server chooses the port itself and says which, so no two of them can meet on one. What goes wrong is raised; a tool
wraps its main in run_tool(), which turns it into one message and an exit code.
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

READY_SECONDS_MAX = 300


class ServerFailed(RuntimeError):
    """The server did not start, or did not stop; the message ends with its log."""


class RequestRefused(RuntimeError):
    """An answer that is not 200. `code` is its status."""

    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code = code


class Server:
    """A running server. `process`, `port`, `url`; `log_text()` is what it wrote to stdout and stderr."""

    def __init__(self, command, ready_seconds_max=READY_SECONDS_MAX, environment=None):
        """command: `quern serve` with its flags, or api_server_bench with its own; without the port. environment: as Popen's env."""
        self._folder = tempfile.TemporaryDirectory(prefix="quern-server-")
        self._log = pathlib.Path(self._folder.name, "log")
        command = [*map(str, command), "--port", "0"]
        # The free-model server has no --port-file; it prints the port once it listens.
        self._port_file = None if "api_server_bench" in command[0] else pathlib.Path(self._folder.name, "port")
        if self._port_file:
            command += ["--port-file", str(self._port_file)]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        self._wait_for(self._read_port, ready_seconds_max, "did not listen")
        self.url = f"http://127.0.0.1:{self.port}"
        self._wait_for(self._is_ready, ready_seconds_max, "was not ready")

    def _wait_for(self, condition, seconds_max, what):
        end = time.monotonic() + seconds_max
        while not condition():
            if self.process.poll() is not None:
                raise ServerFailed(self._story(f"ended with exit code {self.process.returncode} before it was ready"))
            if time.monotonic() > end:
                self.kill()
                raise ServerFailed(self._story(f"{what} within {seconds_max} s"))
            time.sleep(0.01)

    def _read_port(self):
        if self._port_file:
            self.port = int(self._port_file.read_text()) if self._port_file.exists() else 0
        else:
            line = re.search(r"^listening on \S+:(\d+)$", self.log_text(), re.M)
            self.port = int(line.group(1)) if line else 0
        return self.port > 0

    def _is_ready(self):
        try:
            urllib.request.urlopen(self.url + "/ready", timeout=5).close()
            return True
        except OSError:
            return False

    def _story(self, how):
        return f"{pathlib.Path(self.process.args[0]).name} {how}:\n{self.log_text()}"

    def log_text(self):
        return self._log.read_text(errors="replace")

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as reply:
            return json.load(reply)

    def post(self, path, body, timeout_s=600):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise RequestRefused(error.code, error.read().decode(errors="replace")) from error

    def metric(self, name, absent=0.0):
        """The sum of all samples of a metric; `absent` where there is no such metric (yet)."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=30) as reply:
            lines = reply.read().decode().splitlines()
        values = [float(line.rsplit(" ", 1)[1]) for line in lines if re.split(r"[{ ]", line, maxsplit=1)[0] == name]
        return sum(values) if values else absent

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s=60):
        """SIGTERM; the exit code. One that does not end in time is killed, and that is an error."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerFailed(self._story(f"had not ended {timeout_s} s after SIGTERM")) from None


def run_tool(main):
    """Ends the program with main()'s exit code, or with 1 and the message of what a server did wrong."""
    try:
        sys.exit(main())
    except (ServerFailed, RequestRefused) as failure:
        sys.exit(str(failure))
