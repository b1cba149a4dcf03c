"""A server process for the tools: starts on a free port, waits until it is ready, stops. Standard library only."""
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

READY_SECONDS_MAX = 300


class Server:
    def __init__(self, command):
        """command: what to run, without the port. Ends the program with the server's log when it does not start."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen([*map(str, command), "--port", str(self.port)], stdout=self.log, stderr=self.log)
        end = time.monotonic() + READY_SECONDS_MAX
        while not self._is_ready():
            if self.process.poll() is not None:
                self._give_up(f"ended with exit code {self.process.returncode}")
            if time.monotonic() > end:
                self.process.kill()
                self._give_up(f"was not ready within {READY_SECONDS_MAX} s")
            time.sleep(0.05)

    def _is_ready(self):
        try:
            urllib.request.urlopen(self.url + "/ready", timeout=5).close()
            return True
        except OSError:
            return False

    def _give_up(self, how):
        self.log.seek(0)
        sys.exit(f"{pathlib.Path(self.process.args[0]).name} {how}:\n{self.log.read().decode(errors='replace')}")

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=30) as reply:
            return json.load(reply)

    def post(self, path, body):
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=600) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            sys.exit(f"{error.code}: {error.read().decode()}")

    def stop(self):
        """SIGTERM; the exit code."""
        self.process.terminate()
        return self.process.wait(timeout=60)
