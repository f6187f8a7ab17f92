"""millrace consume --exec: a command for each message, whose exit status decides."""
import json
import signal
import time
from pathlib import Path

import pytest

from store import wait_until


@pytest.fixture
def done(folder):
    """What commands have written to "done", line by line; $DONE for them."""
    path = Path(folder, "done")
    path.touch()

    class Done:
        env = {"DONE": str(path)}

        def lines(self, count=0):
            wait_until(lambda: len(path.read_text().splitlines()) >= count, f"{count} lines in {path.read_text()!r}")
            return path.read_text().splitlines()

    return Done()


NOTE = 'echo $MILLRACE_STREAM $MILLRACE_POSITION $MILLRACE_ATTEMPT >> "$DONE"'


def blocked(consumer):
    return {each["stream"]: each for each in consumer.client.call("consumer.streams", "c")}


def has_ended(pid):
    def ended():
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_until(ended, f"the end of process {pid}")


def test_what_a_command_gets(consumer, done):
    consumer.write("a")
    consumer.client.write("s-b c'$(x)", {"n": 2, "x": "y" * 200000}, type="It's \"so\"")
    command = ('cat >> "$DONE"; echo "$MILLRACE_CONSUMER|$MILLRACE_STREAM|$MILLRACE_TYPE|$MILLRACE_POSITION|'
               '$MILLRACE_GLOBAL_POSITION|$MILLRACE_ATTEMPT|${MILLRACE_TOKEN-none}" >> "$DONE"; echo out')
    member = consumer.start("--once", "--exec", command, **done.env)
    assert (member.wait(), member.text) == (0, "out\nout\n")
    first, first_env, second, second_env = done.lines()
    assert json.loads(first)["data"] == {"n": 1} and json.loads(second)["data"]["x"] == "y" * 200000
    assert (first_env, second_env) == ("c|s-a|Tested|0|1|1|none", "c|s-b c'$(x)|It's \"so\"|0|2|1|none")
    consumer.settled()


def test_a_command_need_not_read(consumer, done):
    consumer.client.write("s-a", {"x": "y" * 500000})
    member = consumer.start("--once", "--exec", "true")
    assert (member.wait(), member.text) == (0, "")
    consumer.settled()


@pytest.mark.parametrize("how", ["exit 75", "exit 1", "kill -9 $$"])
def test_a_failure_blocks_its_stream_alone(consumer, done, how):
    consumer.write("a", "b", "a", "b", "c")
    command = NOTE + f'; [ "$MILLRACE_STREAM $MILLRACE_POSITION $MILLRACE_ATTEMPT" != "s-a 0 1" ] || {how}'
    member = consumer.start("--exec", command, **done.env)
    assert done.lines(6) == ["s-a 0 1", "s-b 0 1", "s-b 1 1", "s-c 0 1", "s-a 0 2", "s-a 1 1"]
    consumer.settled()
    member.stop()


def test_why_it_failed_is_kept(consumer, done):
    consumer.write("a", "b")
    member = consumer.start("--once", "--exec", '[ $MILLRACE_STREAM = s-a ] && exit 3; kill -9 $$')
    assert member.wait() == 0
    failures = {stream: (each["error"], each["attempts"], each["parked"]) for stream, each in blocked(consumer).items()}
    assert failures == {
        "s-a": ("the command ended with status 3", 1, False),
        "s-b": ("the command was ended by signal 9", 1, False)
    }


def test_65_parks(consumer, done):
    consumer.write("a", "b", "a")
    member = consumer.start("--once", "--exec", NOTE + "; [ $MILLRACE_STREAM = s-b ] || exit 65", **done.env)
    assert member.wait() == 0
    assert done.lines() == ["s-a 0 1", "s-b 0 1"]
    assert blocked(consumer)["s-a"]["parked"] is True
    consumer.client.call("consumer.unpark", "c", {"stream": "s-a"})
    assert consumer.start("--once", "--exec", NOTE, **done.env).wait() == 0
    assert done.lines()[2:] == ["s-a 0 1", "s-a 1 1"]


def test_where_all_is_in_order_a_failure_ends_the_claim(consumer, done):
    consumer.client.call("consumer.delete", "c")
    consumer.create(ordering="all")
    consumer.write("a", "b", "c")
    command = NOTE + '; [ "$MILLRACE_STREAM $MILLRACE_ATTEMPT" != "s-b 1" ]'
    member = consumer.start("--exec", command, **done.env)
    assert done.lines(4) == ["s-a 0 1", "s-b 0 1", "s-b 0 2", "s-c 0 1"]
    consumer.settled()
    member.stop()


@pytest.mark.parametrize("command", ["no-such-command-here", "/etc/passwd"])
def test_a_command_that_cannot_be_run_costs_no_attempt(consumer, done, command):
    consumer.write("a", "b")
    member = consumer.start("--exec", '[ $MILLRACE_STREAM = s-a ] || exec ' + command)
    assert member.wait() == 1 and "the command can't be run" in member.text
    assert blocked(consumer).get("s-b", {}).get("attempts", 0) == 0
    assert consumer.start("--once", "--exec", NOTE, **done.env).wait() == 0
    assert done.lines() == ["s-b 0 1"], "what was before it is settled, the rest came at once"


def test_the_lease_is_extended_while_a_command_runs(consumer, done):
    consumer.write("a", "b")
    member = consumer.start("--lease", "1", "--exec", NOTE + "; sleep 2", **done.env)
    done.lines(1)
    other = consumer.start("--exec", NOTE, **done.env)
    assert done.lines(2) == ["s-a 0 1", "s-b 0 1"]
    consumer.settled()
    member.stop()
    other.stop()
    assert done.lines() == ["s-a 0 1", "s-b 0 1"] and "lost" not in member.text


def test_a_lost_claim_ends_the_command(consumer, done):
    consumer.write("a")
    command = NOTE + '; [ $(wc -l < "$DONE") -gt 1 ] || exec sleep 600'
    member = consumer.start("--lease", "2", "--exec", command, **done.env)
    done.lines(1)
    consumer.client.call("consumer.reset", "c", {"position": 0})
    assert done.lines(2) == ["s-a 0 1", "s-a 0 1"]
    consumer.settled()
    member.stop()
    assert "is lost" in member.text


def test_sigterm_ends_the_command_and_gives_back_the_rest(consumer, done):
    """Its message is not counted as failed, and another member gets all of it without waiting for the lease."""
    consumer.write("a", "b", "c")
    command = NOTE + "; [ $MILLRACE_STREAM = s-a ] || sleep 600; echo"
    slow = consumer.start("--lease", "600", "--exec", command, **done.env)
    done.lines(2)
    other = consumer.start("--exec", NOTE, **done.env)
    slow.stop()
    assert done.lines(4) == ["s-a 0 1", "s-b 0 1", "s-b 0 1", "s-c 0 1"]
    consumer.settled()
    other.stop()


def test_sigterm_ends_all_that_a_command_has_started(consumer, done):
    consumer.write("a")
    command = """sh -c 'echo $$ >> "$DONE"; exec sleep 600'; true"""
    member = consumer.start("--lease", "600", "--exec", command, **done.env)
    pid = int(done.lines(1)[0])
    member.stop()
    has_ended(pid)


def test_a_command_may_finish_after_sigterm(consumer, done):
    consumer.write("a", "b")
    command = "trap : TERM; " + NOTE + "; sleep 600 & wait; exit 0"
    member = consumer.start("--lease", "600", "--exec", command, **done.env)
    done.lines(1)
    member.stop()
    assert consumer.start("--once", "--exec", NOTE, **done.env).wait() == 0
    assert done.lines() == ["s-a 0 1", "s-b 0 1"]


def test_kill_9_takes_the_command_with_it(consumer, done):
    consumer.write("a")
    member = consumer.start("--lease", "2", "--exec", 'echo $$ >> "$DONE"; exec sleep 600', **done.env)
    pid = int(done.lines(1)[0])
    member.process.send_signal(signal.SIGKILL)
    has_ended(pid)
    start = time.monotonic()
    consumer.start("--exec", NOTE, **done.env)
    assert done.lines(2)[1].startswith("s-a 0 ") and time.monotonic() - start < 20


def test_a_server_that_starts_again_while_a_command_runs(make_consumer, mortal, folder, done):
    """Its claim outlives that, and what the command did counts."""
    consumer = make_consumer(mortal.server, mortal.server.client())
    consumer.write("a", "b")
    command = NOTE + f"; while [ ! -e {folder}/go ]; do sleep 0.1; done"
    member = consumer.start("--lease", "3", "--exec", command, **done.env)
    done.lines(1)
    mortal.kill()
    member.says("trying again")
    consumer.client = mortal.start()
    Path(folder, "go").touch()
    consumer.settled()
    member.stop()
    assert done.lines() == ["s-a 0 1", "s-b 0 1"]
