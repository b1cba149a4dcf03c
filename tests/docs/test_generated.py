"""What ./dev docs writes into the documents is there and right."""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import update_docs  # noqa: E402

HELP = """Serve
Usage: quern serve [OPTIONS]

Options:
  -h,--help                                 Print this help message and exit
  --port UINT=30000 (Env:QUERN_PORT)        Port to listen on; 0: a free one
  --max-inputs,--inputs INT:INT in [1 - 10]=2048 (Env:QUERN_MAX_INPUTS)
                                            Inputs in one
                                            request
  --idle-timeout-s INT=75 (Env:QUERN_IDLE_TIMEOUT_S)
                                            Close after this long

Every flag can be given
"""


def test_the_limits_are_read_from_the_help():
    assert update_docs.limits_table(HELP).splitlines()[2:] == [
        "| `--max-inputs`, `--inputs` | 2,048 | Inputs in one request |", "| `--idle-timeout-s` | 75 | Close after this long |"]


def test_every_limit_of_quern_serve_has_its_row():
    build = ROOT / os.environ.get("QUERN_BUILD_DIR", "build/release")
    text = subprocess.run([build / "quern", "serve", "--help"], capture_output=True, text=True, check=True).stdout
    flags = [names[0] for names, _, _ in update_docs.read_flags(text)]
    assert len(flags) == text.count("(Env:QUERN_"), "a flag of --help was not understood"
    page = (ROOT / "OPERATIONS.md").read_text()
    for name in flags:
        if name.startswith("--max-") or "-timeout-" in name:
            assert f"| `{name}`" in page, name


def test_documents_are_up_to_date():
    build = os.environ.get("QUERN_BUILD_DIR", "build/release")
    done = subprocess.run([sys.executable, ROOT / "tools/update_docs.py", build, "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
