"""One chaos run: publishes jobs that fail by plan, disturbs workers and broker, and accounts for what came of it."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from producers import JobHandle, JobProducer, ProducersError, ProducerSettings
from tests.brokers import Broker
from tests.chaos import plan, schedule
from tests.chaos.account import Account, Letters, Published, Span
from tests.chaos.plan import CRASH_CODE, HANDOVER, Letter, Plan, Planned
from tests.chaos.pressure import watched
from tests.chaos.schedule import Disturbance, Kind
from tests.models.ordered import Step
from tests.publishing import load
from tests.topics import read_all, refuse
from tests.waiting import until
from tests.workers import Worker, Workers

QUEUES = ("chaos", "chaos-loose", "chaos-thread", "chaos-process")
#: Jobs a second: much less than the machine could do, which has to restart workers and brokers meanwhile.
RATE = 100
#: Workers that run, at the least and at the most.
FEWEST, MOST = 2, 4
SESSION = 6
STOP_TIMEOUT = 3.0
#: Seconds until all is done, once nothing is disturbed any more.
SETTLE = 180.0
_TICK = 0.05

SETTINGS: dict[str, object] = {
    "session_timeout": SESSION, "stop_timeout": STOP_TIMEOUT, "handover_timeout": HANDOVER, "processes": 1,
    "concurrency": 50,
}  # fmt: skip

Say = Callable[[str], None]


class Publisher:
    """Publishes planned jobs, numbered in each key, and remembers them."""

    def __init__(self, bootstrap: str, namespace: str, debug: str) -> None:
        settings = ProducerSettings(bootstrap_servers=bootstrap, namespace=namespace)
        self._producer = JobProducer(settings, client_options={"debug": debug} if debug else {})
        self._next: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.jobs: dict[str, Published] = {}
        self._handles: dict[str, JobHandle] = {}

    def publish(self, job: Planned) -> str:
        """Publish a job; returns its id."""
        with self._lock:
            key = job.key or ""
            seq = self._next[key]
            self._next[key] += 1
            headers = {"plan": job.plan.letters} if job.plan.letters else {}
            handle = self._producer.publish(
                Step(seq=seq, seconds=job.seconds), key=job.key, queue=job.queue, headers=headers,
                max_attempts=job.plan.most,
            )  # fmt: skip
            self.jobs[handle.id] = Published(handle.id, job.queue, job.key, seq, job.plan, time.monotonic_ns())
            self._handles[handle.id] = handle
            return handle.id

    def flush(self) -> list[str]:
        """Wait for all deliveries, and forget the jobs that were not delivered; what has failed."""
        failures: list[str] = []
        try:
            self._producer.flush(150)
        except ProducersError as failed:
            failures.append(str(failed))
        for job, handle in self._handles.items():
            if handle.offset is None:
                del self.jobs[job]
        self._handles.clear()
        return failures

    def close(self) -> None:
        self._producer.close(10)


class Crew:
    """The workers of a run and what happens to them. Whoever dies is started again."""

    def __init__(self, workers: Workers, publish: Callable[[Planned], str], say: Say) -> None:
        self._workers = workers
        self._publish = publish
        self._say = say
        self._alive: dict[int, int] = {}  # when each worker was last seen alive
        self._frozen: dict[Worker, int] = {}
        self._stopping: dict[Worker, int] = {}
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._crashes = 0
        self.deaths: dict[int, Span] = {}
        self.freezes: dict[int, list[Span]] = defaultdict(list)
        self.stops: dict[int, Span] = {}
        self.launches: list[int] = []
        #: What no worker may do: end by itself, or otherwise than asked to.
        self.faults: list[str] = []

    def start(self, count: int) -> None:
        self._workers.start(count)
        self.look()

    def launch(self) -> None:
        self.launches.append(time.monotonic_ns())
        self._workers.launch()

    def disturb(self, what: Disturbance, now: float) -> None:
        """Begin a disturbance; its end comes by itself, see `look`."""
        free = [each for each in self._workers.running if each not in self._frozen and each not in self._stopping]
        victim = free[int(what.luck * len(free))] if free else None
        kind, after = what.kind, now + what.seconds
        if kind is Kind.JOIN:
            if len(self._workers.running) < MOST:
                self.launch()
        elif kind in (Kind.CRASH, Kind.CRASH_ONCE):
            self._publish_crash(kind)
        elif victim is None or (len(free) < FEWEST and kind is not Kind.KILL):
            return
        elif kind is Kind.KILL:
            self.kill(victim)
            self._later.append((after, self.launch))
        elif kind is Kind.FREEZE:
            self._frozen[victim] = time.monotonic_ns()
            victim.freeze()
            self._later.append((after, lambda: self.thaw(victim)))
        elif kind is Kind.STOP or len(free) > FEWEST:
            self.terminate(victim)
            if kind is Kind.STOP:
                self._later.append((after, self.launch))

    def _publish_crash(self, kind: Kind) -> None:
        letter = Letter.CRASH if kind is Kind.CRASH else Letter.CRASH_ONCE
        self._crashes += 1
        self._publish(Planned("chaos", f"crash-{self._crashes}", 0.0, Plan(letter.value)))

    def kill(self, worker: Worker) -> None:
        seen = time.monotonic_ns()
        worker.kill()
        self._buried(worker, seen)

    def terminate(self, worker: Worker) -> None:
        self._stopping[worker] = time.monotonic_ns()
        worker.terminate()

    def thaw(self, worker: Worker) -> None:
        begun = self._frozen.pop(worker, None)
        if begun is not None and worker.running:
            self.freezes[worker.pid].append(Span(begun, worker.thaw()))

    def _buried(self, worker: Worker, seen: int) -> None:
        self.deaths[worker.pid] = Span(seen, time.monotonic_ns())
        self._frozen.pop(worker, None)
        self._stopping.pop(worker, None)
        self._alive.pop(worker.pid, None)

    def look(self, now: float | None = None) -> None:
        """See who has died, and do what is due."""
        for worker in self._workers.all:
            if worker.running:
                self._alive[worker.pid] = time.monotonic_ns()
            elif worker.pid in self._alive:
                self._ended(worker, self._alive[worker.pid])
        now = time.monotonic() if now is None else now
        due, self._later = [d for d in self._later if d[0] <= now], [d for d in self._later if d[0] > now]
        for _, act in due:
            act()

    def _ended(self, worker: Worker, seen: int) -> None:
        asked = self._stopping.pop(worker, None)
        code = worker.exit_code
        # Who is asked before it has got as far as to handle signals ends by the signal, and has held nothing.
        if asked is not None and (code == 0 or (code == -signal.SIGTERM and worker.member is None)):
            self._alive.pop(worker.pid)
            self.stops[worker.pid] = Span(asked, time.monotonic_ns())
            return
        self._buried(worker, seen)
        if code == CRASH_CODE:
            self._say(f"worker {worker.pid} died of a job")
        else:
            self.faults.append(f"worker {worker.pid} ended with {code}; its log:\n{worker.tail()}")
        if asked is None:
            self.launch()

    def calm(self) -> None:
        """Let all who are frozen go on, do at once what was to be done later, and have enough workers."""
        for worker in [*self._frozen]:
            self.thaw(worker)
        self.look(float("inf"))
        while len(self._workers.running) < FEWEST:
            self.launch()

    def dismiss(self, within: float) -> None:
        """Stop all workers in order."""
        for worker in self._workers.running:
            if worker not in self._stopping:
                self.terminate(worker)

        def gone() -> bool:
            self.look()
            return not self._workers.running

        until(gone, within=within, what=lambda: f"all workers stopped\n{self._workers.tails()}")


class Weather:
    """What happens to the broker, one thing after another, in a thread."""

    def __init__(self, broker: Broker, namespace: str, plans: Sequence[Disturbance], say: Say) -> None:
        self._broker = broker
        self._namespace = namespace
        self._plans = plans
        self._say = say
        self._enough = threading.Event()
        self.outages: list[Span] = []
        self.refusals: list[Span] = []

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Until the end of the block; then the broker is as it was."""
        failed: list[BaseException] = []

        def work() -> None:
            try:
                for each in self._plans:
                    if self._enough.wait(each.at):
                        return
                    self._happen(each)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work, name="weather")
        thread.start()
        try:
            yield
        finally:
            self._enough.set()
            thread.join()
        if failed:
            raise failed[0]

    def _happen(self, what: Disturbance) -> None:
        self._say(f"{what.kind.value}, {what.seconds:.1f} s")
        if what.kind in (Kind.REFUSE_RETRIES, Kind.REFUSE_LETTERS):
            self._refuse("retry" if what.kind is Kind.REFUSE_RETRIES else "dead", what.seconds)
            return
        begin = time.monotonic_ns()
        if what.kind is Kind.BROKER_FREEZE:
            self._broker.freeze()
            self._enough.wait(what.seconds)
            self._broker.thaw()
        else:
            self._broker.stop() if what.kind is Kind.BROKER_STOP else self._broker.kill()
            self._enough.wait(what.seconds)
            self._broker.start()
        self.outages.append(Span(begin, time.monotonic_ns()))

    def _refuse(self, suffix: str, seconds: float) -> None:
        """Have some topics take no record."""
        topics = [f"{self._namespace}.{queue}.{suffix}" for queue in QUEUES]
        begin = time.monotonic_ns()
        refuse(self._broker.bootstrap, topics)
        self._enough.wait(seconds)
        refuse(self._broker.bootstrap, topics, refused=False)
        self.refusals.append(Span(begin, time.monotonic_ns()))


class Chaos:
    """A run of so many seconds, with everything that comes from its seed."""

    def __init__(
        self, broker: Broker, namespace: str, directory: Path, *, seed: int, seconds: float, fault: str = "",
        jobs: Iterator[Planned] | None = None,
        of_workers: Sequence[Disturbance] | None = None, of_broker: Sequence[Disturbance] | None = None,
        say: Say = lambda line: None,
        debug: str = "",
    ) -> None:  # fmt: skip
        """`fault` names a mechanism to switch off, see tests.chaos.faults. Jobs and disturbances are those of the seed
        where none are given. `debug` has librdkafka's debug contexts, for the publisher's log."""
        self._broker = broker
        self._namespace = namespace
        self._seed = seed
        self._seconds = seconds
        self._fault = fault
        self._began = time.monotonic()
        self._say_line = say
        self._busy: Sequence[Span] = ()
        module = "tests.jobs.chaotic" if not fault else "tests.chaos.faults"
        environment = {"TEST_FAULT": fault} if fault else {}
        self._workers = Workers(module, namespace, broker.bootstrap, directory, environment=environment, **SETTINGS)
        self._publisher = Publisher(broker.bootstrap, namespace, debug)
        self._crew = Crew(self._workers, self._publisher.publish, self._say)
        chance = random.Random(seed)
        own_workers = schedule.of_workers(random.Random(chance.random()), seconds)
        own_broker = schedule.of_broker(random.Random(chance.random()), seconds)
        own_jobs = plan.jobs(random.Random(chance.random()))
        self._jobs = own_jobs if jobs is None else jobs
        self._disturbances = own_workers if of_workers is None else of_workers
        self._weather = Weather(broker, namespace, own_broker if of_broker is None else of_broker, self._say)

    def _say(self, line: str) -> None:
        self._say_line(f"{time.monotonic() - self._began:7.2f} s  {line}")

    def run(self, *, settle: float = SETTLE) -> tuple[Account, list[str]]:
        """The account of the run, and what the workers did that none may do. Raises nothing for jobs that never end."""
        with ExitStack() as stack:
            stack.callback(self._workers.kill_all)
            stack.callback(self._publisher.close)
            self._busy = stack.enter_context(watched())
            self._crew.start(FEWEST + 1)
            self._began = time.monotonic()
            with self._weather.going_on(), load(lambda _: self._publisher.publish(next(self._jobs)), rate=RATE):
                self._disturb()
            self._say("nothing is disturbed any more")
            self._crew.calm()
            self._crew.faults += self._publisher.flush()
            self._await_the_end(settle)
            self._say("the workers stop")
            self._crew.dismiss(60)
            if not self._fault:
                self._epilogue()
            return self._account(), self._crew.faults

    def _disturb(self) -> None:
        for each in self._disturbances:
            self._pass_until(self._began + each.at)
            self._say(f"{each.kind.value}{f', {each.seconds:.1f} s' if each.seconds else ''}")
            self._crew.disturb(each, time.monotonic())
        self._pass_until(self._began + self._seconds)

    def _pass_until(self, moment: float) -> None:
        """A schedule is a matter of time; who dies meanwhile is started again."""
        while (left := moment - time.monotonic()) > 0:
            self._crew.look()
            time.sleep(min(_TICK, left))

    def _await_the_end(self, within: float) -> None:
        give_up = time.monotonic() + within
        look_again = 0.0
        while time.monotonic() < give_up:
            self._crew.look()
            if time.monotonic() >= look_again:
                if self._publisher.jobs.keys() <= self._workers.ledger.done | self._dead().keys():
                    return
                look_again = time.monotonic() + 2
            time.sleep(_TICK)
        self._say(f"not all jobs have ended within {within:g} s")

    def _epilogue(self) -> None:
        """A worker that starts after a clean stop repeats nothing of what is done, which the rules see."""
        self._crew.start(1)
        last = {self._publisher.publish(Planned("chaos", f"last-{number}", 0.0, Plan())) for number in range(40)}
        until(
            lambda: last <= self._workers.ledger.done, within=60, what=lambda: f"the last jobs\n{self._workers.tails()}"
        )
        self._crew.dismiss(60)

    def _dead(self) -> dict[str, Letters]:
        found: dict[str, list[str]] = defaultdict(list)
        for queue in QUEUES:
            for letter in read_all(self._broker.bootstrap, f"{self._namespace}.{queue}.dead"):
                found[letter.header("ce_id") or ""].append(letter.header("job-error-type") or "")
        return {job: Letters(tuple(errors)) for job, errors in found.items()}

    def _account(self) -> Account:
        crew, weather = self._crew, self._weather
        return Account(
            jobs=self._publisher.jobs, runs=self._workers.ledger.runs(), dead=self._dead(), deaths=crew.deaths,
            freezes=crew.freezes, stops=crew.stops, outages=weather.outages, refusals=weather.refusals,
            launches=crew.launches, busy=self._busy,
        )  # fmt: skip
