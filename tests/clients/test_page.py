"""Every block of docs/clients.md runs as it stands, each in a process of its own, and gives the vectors of the HTTP API."""
import json
import os
import re
import subprocess
import sys

import pytest
from conftest import ROOT, assert_same

PAGE = ROOT / "docs/clients.md"
# Name on the page -> the text whose vector it is, and its prompt.
RESULTS = {"vectors": ("texts", None), "vector": ("question", None), "query_vector": ("question", "query")}
PRINT = f"""
import json as _json
print("RESULTS " + _json.dumps({{name: [list(map(float, row)) for row in ([value] if name.endswith("vector") else value)]
                                for name, value in globals().copy().items() if name in {list(RESULTS)}}}))
"""


def blocks():
    """(title, line number, lines) of each ```python block; the first stands before all others."""
    found, title, lines = [], "", None
    for number, line in enumerate(PAGE.read_text().splitlines(), 1):
        if line.startswith("```"):
            if lines is None:
                lines = [] if line == "```python" else None
            else:
                found.append((title, number - len(lines), "\n".join(lines)))
                lines = None
        elif lines is not None:
            lines.append(line)
        elif line.startswith("## "):
            title = line[3:]
    return found


(_, _, BEFORE), *BLOCKS = blocks()
GIVEN = {}
exec(BEFORE, GIVEN)  # pylint: disable=exec-used


def test_each_library_has_its_block():
    assert {title for title, _, _ in BLOCKS} == set(re.findall(r"^## (.*)$", PAGE.read_text(), re.M)) != set()


@pytest.mark.parametrize("title,number,lines", BLOCKS, ids=[f"{title}:{number}" for title, number, _ in BLOCKS])
def test_block(title, number, lines, plain):
    assert lines.count("\n") < 10, f"{PAGE.name}:{number}: too long to be shown"
    assert "30000" in BEFORE
    program = "\n".join([BEFORE.replace("30000", str(plain.server.port)), lines, PRINT])
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=300, env=os.environ)
    assert done.returncode == 0, f"{PAGE.name}:{number}:\n{done.stdout}\n{done.stderr}"
    results = json.loads(re.search(r"^RESULTS (.*)$", done.stdout, re.M).group(1))
    assert results, f"{PAGE.name}:{number}: gives none of {', '.join(RESULTS)}"
    for name, vectors in results.items():
        source, prompt = RESULTS[name]
        texts = GIVEN[source] if name == "vectors" else [GIVEN[source]]
        assert_same(vectors, plain.vectors(texts, prompt), f"{PAGE.name}:{number} ({title}): {name}")
