"""The measuring tools' verdicts: each thing that must fail does."""
import pathlib
import stat
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import compare_builds  # noqa: E402
import quern_server  # noqa: E402
import soak_leave  # noqa: E402


def outcomes(**more):
    made = soak_leave.Outcomes()
    made.counts.update({"normal: 200": 5, "left while waiting": 5, "left after sending": 100_000, "hostile bad_json: 400": 5, **more})
    return made


def samples(*kilobytes):
    return [(5 * (number + 1), kb, 0) for number, kb in enumerate(kilobytes)]


def test_a_flat_soak_passes():
    figures, wrong = soak_leave.judge(samples(*[100_000] * 30, *[101_900] * 30), 0, outcomes())
    assert not wrong and figures["growth"] == pytest.approx(0.019)


@pytest.mark.parametrize("kilobytes,gauge,events,said", [
    ([100_000] * 30 + [102_100] * 30, 0, outcomes(), "resident memory grew by 2.1%"),
    ([100_000 + 100 * n for n in range(60)], 0, outcomes(), "resident memory grew"),
    ([100_000] * 60, 1, outcomes(), "quern_calls_live is 1"),
    ([100_000] * 60, None, outcomes(), "no gauge quern_calls_live"),
    ([], 0, outcomes(), "too few samples"),
    ([100_000] * 60, 0, outcomes(**{"left after sending": 100}), "only 105 clients left in 300 s"),
    ([100_000] * 60, 0, outcomes(**{"left while waiting": 0}), "none of: left while waiting"),
])
def test_a_soak_fails(kilobytes, gauge, events, said):
    wrong = soak_leave.judge(samples(*kilobytes), gauge, events)[1]
    assert len(wrong) == 1 and said in wrong[0], wrong


def test_a_complaint_fails_a_soak():
    events = outcomes()
    events.complain("normal request 3: another answer than the first")
    assert soak_leave.judge(samples(*[100_000] * 60), 0, events)[1] == ["normal request 3: another answer than the first"]


def test_the_ratio_is_the_median_of_the_rounds():
    row = compare_builds.summary("row", [(100, 110), (200, 100), (50, 55)])
    assert row["ratio"] == pytest.approx(1.1) and row["old"] == 100 and row["new"] == 100


def test_rounds_go_in_turn():
    order = []
    results = compare_builds.in_turn(3, [lambda: order.append("old") or 1, lambda: order.append("new") or 2])
    assert order == ["old", "new", "new", "old", "old", "new"] and results == [(1, 2)] * 3


def fake_build(folder, embedding):
    """A `quern` that says one vector for every text, and one rate for every case."""
    folder.mkdir()
    for name in ("quern", "api_server_bench"):
        (folder / name).write_text(f"""#!/bin/sh
case $1 in
  --version) echo 'quern 0.1.0 (abc)' ;;
  embed) while read -r line; do echo '{{"index": 0, "embedding": {embedding}}}'; done ;;
  bench) echo '| 12x1 | 10.0 | 1200.0 | 2 | 3 | 4% | 5% | 6 | abc |' ;;
esac
""")
        (folder / name).chmod(stat.S_IRWXU)
    return folder


@pytest.mark.parametrize("new,code,said", [("[0.6, 0.8]", 0, "equal bits"), ("[0.6000001, 0.8]", 0, "cosine 1.0"), ("[0.61, 0.8]", 1, "different vectors"),
                                           ("[NaN, 0.8]", 1, "different vectors")])
def test_vectors_are_compared_before_anything_is_timed(tmp_path, new, code, said):
    old, new = fake_build(tmp_path / "old", "[0.6, 0.8]"), fake_build(tmp_path / "new", new)
    done = subprocess.run([sys.executable, ROOT / "tools/compare_builds.py", old, new, "--cases", "12x1", "--in-flight", "0", "--connections", "--rounds", "1"],
                          capture_output=True, text=True)
    assert done.returncode == code and said in done.stdout + done.stderr, done.stdout + done.stderr
    assert ("| 1.000 |" in done.stdout) == (code == 0)


def test_a_slower_build_fails_where_asked(tmp_path):
    old, new = fake_build(tmp_path / "old", "[1.0]"), fake_build(tmp_path / "new", "[1.0]")
    quern = new / "quern"
    quern.write_text(quern.read_text().replace("1200.0", "1100.0"))
    command = [sys.executable, ROOT / "tools/compare_builds.py", old, new, "--cases", "12x1", "--in-flight", "0", "--connections", "--rounds", "1"]
    assert subprocess.run([*command, "--at-least", "0.9"], capture_output=True).returncode == 0
    done = subprocess.run([*command, "--at-least", "0.98"], capture_output=True, text=True)
    assert done.returncode == 1 and "below 0.98: quern-mini 12x1" in done.stdout


def test_a_server_that_does_not_start_is_raised_with_its_log(tmp_path):
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no such model >&2\nexit 3\n")
    broken.chmod(stat.S_IRWXU)
    with pytest.raises(quern_server.ServerFailed, match="(?s)exit code 3 .*no such model"):
        quern_server.Server([broken])


def test_a_server_that_never_listens_is_killed(tmp_path):
    sleeper = tmp_path / "sleeper"
    sleeper.write_text("#!/bin/sh\necho $$ >\"$0.pid\"\nexec sleep 600\n")
    sleeper.chmod(stat.S_IRWXU)
    with pytest.raises(quern_server.ServerFailed, match="did not listen within 0.5 s"):
        quern_server.Server([sleeper], ready_seconds_max=0.5)
    pid = int((tmp_path / "sleeper.pid").read_text())
    assert not pathlib.Path(f"/proc/{pid}").exists()


def test_a_tool_ends_with_the_message_and_code_1():
    def main():
        raise quern_server.ServerFailed("quern did not start:\nits log")

    with pytest.raises(SystemExit) as ended:
        quern_server.run_tool(main)
    assert ended.value.code == "quern did not start:\nits log"
