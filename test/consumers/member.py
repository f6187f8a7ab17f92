"""What the members share that are programs of ours: what they write down, what poison does to them, how they end.

A member's arguments are one of JSON: `name`, `consumer`, `ordering`, `record` (its file), `cured` (a file: once it is
there no message is poison any more), `seed`, `began` (of the run, by time.time()), `conninfo`, `ports` and `token`,
`isolation`.

Poison is by a message's type.  For a consumer with ordering `stream`:
  Fails       fails at every attempt
  Parks       has its stream parked at once
  Kills       kills its member, with the rest of the claim in its hands
  KillsAlone  fails, so that it comes alone, and then kills its member
  Flaky       fails twice, then it passes
For one with ordering `all`, which only one in ten of Flaky harms:
  Stops       fails for 40 s, in which the consumer stops, and once it is resumed a few times more
"""
import json
import os
import random
import signal
import sys
import time
from dataclasses import dataclass

LEASE = 3          # seconds
STOPS_ATTEMPTS = 11
STOPS_DELAY = 4000


class Record:
    """A file of lines of JSON, each written at once: a kill leaves all those that were written."""

    def __init__(self, path, began):
        self.file, self.began = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), began

    def write(self, **line):
        line["at"] = round(time.time() - self.began, 2)
        os.write(self.file, (json.dumps(line) + "\n").encode())


@dataclass(slots=True)
class Message:
    stream: str
    type: str
    position: int
    global_position: int
    attempt: int


@dataclass(slots=True)
class Settlement:
    """What a member says of a claim; `done` is what it does not give back."""
    claim: int
    done: list
    failed: list
    up_to: int = None
    release: bool = False


class Member:
    def __init__(self):
        for name, value in json.loads(sys.argv[1]).items():
            setattr(self, name, value)
        self.random, self.ended = random.Random(f"{self.seed} {self.name} {os.getpid()}"), False
        self.file = Record(self.record, self.began)
        signal.signal(signal.SIGTERM, self.end)

    def end(self, *_):
        self.ended = True

    def run(self):
        """Until SIGTERM, which lets it settle or release what it has."""
        try:
            while not self.ended:
                self.step()
            self.leave()
        except Exception as error:  # a mistake of this program's, or an answer that it does not understand
            self.file.write(problem=f"{self.name}: {type(error).__name__}: {error}"[:500])
            raise

    def leave(self):
        pass

    def how_many(self):
        return self.random.choice([1, 5, 20, 100] if self.ordering == "stream" else [20, 100, 500])

    def work(self, claim, messages):
        """Does what takes time, in which a member may be killed or stopped; returns the Settlement."""
        self.file.write(got=claim, messages=[message.global_position for message in messages])
        time.sleep(self.random.random() * (0.5 if self.ordering == "stream" else 0.1))
        if self.ended:
            return Settlement(claim, [], [], release=True)
        up_to = None
        if self.random.random() < 0.03:
            up_to = self.random.choice(messages).global_position
        done, failed = [], {}
        for message in messages:
            stream = "" if self.ordering == "all" else message.stream
            if stream in failed or up_to is not None and message.global_position > up_to:
                continue
            problem = self.problem_with(message, len(messages))
            if problem is None:
                done.append(message.global_position)
            else:
                failed[stream] = {"stream": message.stream, "position": message.position, **problem}
        return Settlement(claim, done, list(failed.values()), up_to)

    def problem_with(self, message, count):
        """None, or what is said of a message that failed."""
        if message.type == "Done" or os.path.exists(self.cured):
            return None
        attempt, failed = message.attempt, {"error": f"{message.type}, attempt {message.attempt}"}
        if message.type == "Flaky" and (self.ordering == "stream" or message.global_position % 10 == 0):
            return {**failed, "delayMs": 100} if attempt < 3 else None
        if self.ordering == "all":
            stops = message.type == "Stops" and attempt < STOPS_ATTEMPTS
            return {**failed, "delayMs": STOPS_DELAY} if stops else None
        if message.type == "Kills" or message.type == "KillsAlone" and attempt > 1 and count == 1:
            self.file.write(dies_of=message.global_position)
            os.kill(os.getpid(), signal.SIGKILL)
        if message.type == "Parks":
            return {**failed, "park": True}
        return failed if message.type in ("Fails", "KillsAlone") else None
