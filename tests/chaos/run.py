"""One chaos run: publishes jobs that fail by plan, disturbs workers and broker, and accounts for what came of it."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence, Set
from contextlib import ExitStack
from pathlib import Path

from tests.brokers import Broker, Cluster
from tests.chaos import plan, schedule
from tests.chaos.account import Account, Published, Span
from tests.chaos.broker_troubles import BrokerTroubles
from tests.chaos.course import Say, Trouble, going_on
from tests.chaos.network_troubles import NetworkTroubles
from tests.chaos.operator_troubles import OperatorTroubles
from tests.chaos.plan import CRASH_CODE, HANDOVER, RETRY_HOLD, STOP_TIMEOUT, Letter, Plan, Planned
from tests.chaos.pressure import watched
from tests.chaos.publisher import Publisher
from tests.chaos.records import DeadLetters, identity, redrives
from tests.chaos.rules import RECOVERY
from tests.chaos.schedule import ALL, OF_CLUSTERS, OF_DISKS, OF_NETWORKS, Disturbance, Kind
from tests.chaos.topic_troubles import TopicTroubles, unseen
from tests.ledger import SECOND
from tests.limits import Limit, can_limit, limit
from tests.publishing import load
from tests.topics import read_all
from tests.waiting import until
from tests.workers import Worker, Workers

QUEUES = ("chaos", "chaos-loose", "chaos-thread", "chaos-process")
#: Jobs a second: much less than the machine could do, which has to restart workers and brokers meanwhile.
RATE = 100
#: Jobs that may wait for their first run before no more are published: a machine that is slow, or much disturbed, has
#: to get through them at the end.
_MOST_WAITING = 2_000
#: Workers that run, at the least and at the most.
FEWEST, MOST = 2, 4
SESSION = 6
#: Seconds until all is done, once nothing is disturbed any more.
SETTLE = 180.0
_TICK = 0.05
#: Seconds that a worker may take to end of what it lacked.
_AFTER_LIMIT = 10

SETTINGS: dict[str, object] = {
    "session_timeout": SESSION, "stop_timeout": STOP_TIMEOUT, "handover_timeout": HANDOVER, "processes": 1,
    "concurrency": 50, "retry_hold": RETRY_HOLD,
}  # fmt: skip


LIMITS = {
    Kind.LIMIT_THREADS: Limit.THREADS,
    Kind.LIMIT_DESCRIPTORS: Limit.DESCRIPTORS,
    Kind.LIMIT_MEMORY: Limit.MEMORY,
}
_GROUP_SIGNALS = {Kind.GROUP_TERM: signal.SIGTERM, Kind.GROUP_INT: signal.SIGINT}
#: What a process ends with that is interrupted before it handles signals; 1 is what its command line makes of Ctrl-C.
_BY_SIGNAL = (-signal.SIGTERM, -signal.SIGINT, 1)


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
        self.limits: dict[int, list[Span]] = defaultdict(list)
        self._limited: set[int] = set()
        #: Stops whose last commit the brokers have not taken.
        self.uncommitted: dict[int, Span] = {}
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
        elif kind in LIMITS:
            self.limit(LIMITS[kind], victim, after)
        elif kind is not Kind.LEAVE or len(free) > FEWEST:
            self.terminate(victim, _GROUP_SIGNALS.get(kind))
            if kind is not Kind.LEAVE:
                self._later.append((after, self.launch))

    def _publish_crash(self, kind: Kind) -> None:
        letter = Letter.CRASH if kind is Kind.CRASH else Letter.CRASH_ONCE
        self._crashes += 1
        self._publish(Planned("chaos", f"crash-{self._crashes}", 0.0, Plan(letter.value)))

    def kill(self, worker: Worker) -> None:
        seen = time.monotonic_ns()
        worker.kill()
        self._buried(worker, seen)

    def terminate(self, worker: Worker, of_group: signal.Signals | None = None) -> None:
        """Ask a worker to stop, or all of its processes."""
        self._stopping[worker] = time.monotonic_ns()
        ignored = of_group is not None and signal.getsignal(of_group) is signal.SIG_IGN  # They inherit that at first.
        worker.terminate() if of_group is None or ignored else worker.signal_group(of_group)

    def limit(self, what: Limit, worker: Worker, until_then: float) -> None:
        """Limit a worker, unless it is: two limits at once would be taken back in the wrong order."""
        if worker.pid in self._limited:
            return
        begin, unlimited = time.monotonic_ns(), limit(what, worker.pid)

        def end() -> None:
            unlimited()
            self.limits[worker.pid].append(Span(begin, time.monotonic_ns()))
            self._limited.discard(worker.pid)

        self._limited.add(worker.pid)
        self._later.append((until_then, end))

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
        if asked is not None and (code == 0 or (code in _BY_SIGNAL and worker.member is None)):
            self._alive.pop(worker.pid)
            self.stops[worker.pid] = Span(asked, time.monotonic_ns())
            return
        self._buried(worker, seen)
        if asked is not None and code == 1:
            # It has said that its last commit was not taken: right where the brokers were out of its reach.
            self.uncommitted[worker.pid] = Span(asked, time.monotonic_ns())
        elif code == CRASH_CODE:
            self._say(f"worker {worker.pid} died of a job")
        elif self._lacked(worker.pid):
            self._say(f"worker {worker.pid} ended with {code} for what it lacked")
        else:
            self.faults.append(f"worker {worker.pid} ended with {code}; its log:\n{worker.tail()}")
        if asked is None:
            self.launch()

    def _lacked(self, process: int) -> bool:
        """Whether a worker is limited, or was a moment before: it takes that to end."""
        since = time.monotonic_ns() - _AFTER_LIMIT * SECOND
        return process in self._limited or any(each.end > since for each in self.limits.get(process, ()))

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


def _possible(kinds: Collection[Kind], broker: Broker | Cluster) -> frozenset[Kind]:
    """Those of some kinds that can happen with this broker, on this machine."""
    impossible = OF_CLUSTERS | OF_NETWORKS | OF_DISKS
    if isinstance(broker, Cluster):
        impossible = frozenset() if broker.disks else OF_DISKS
    return frozenset(kinds) - impossible - {kind for kind, what in LIMITS.items() if not can_limit(what)}


class Chaos:
    """A run of so many seconds, with everything that comes from its seed."""

    def __init__(
        self, broker: Broker | Cluster, namespace: str, directory: Path, *, seed: int, seconds: float,
        fault: str = "", kinds: Collection[Kind] = ALL, jobs: Iterator[Planned] | None = None,
        of_workers: Sequence[Disturbance] | None = None, of_broker: Sequence[Disturbance] | None = None,
        of_network: Sequence[Disturbance] | None = None, of_topics: Sequence[Disturbance] | None = None,
        say: Say = lambda line: None,
        debug: str = "", patience: float = 1.0,
    ) -> None:  # fmt: skip
        """`fault` names a mechanism to switch off, see tests.chaos.faults. Jobs and disturbances are those of the seed
        where none are given, and those of these `kinds` that can happen here. `debug` has librdkafka's debug contexts,
        for the publisher's log. `patience` is how many times longer than usual its end may take."""
        self._patience = patience
        self._broker = broker
        self._namespace = namespace
        self._seed = seed
        self._seconds = seconds
        self._fault = fault
        self._began = time.monotonic()
        self._say_line = say
        self._busy: Sequence[Span] = ()
        #: Jobs that have not been started, and when they are counted again.
        self._waiting, self._count_again = 0, 0.0
        module = "tests.jobs.chaotic" if not fault else "tests.chaos.faults"
        environment = {"TEST_FAULT": fault} if fault else {}
        self._workers = Workers(
            module, namespace, broker.for_clients, directory, environment=environment,
            replication_factor=len(broker.nodes), **SETTINGS,
        )  # fmt: skip
        self._publisher = Publisher(broker.for_clients, namespace, debug)
        self._topics = TopicTroubles(broker.bootstrap, namespace, QUEUES, len(broker.nodes), self._publisher)
        self._letters = DeadLetters(broker.bootstrap, namespace, QUEUES)
        self._operators = OperatorTroubles(self._letters, QUEUES, self._workers, self._say)
        self._crew = Crew(self._workers, self._publisher.publish, self._say)
        chance = random.Random(seed)
        possible = _possible(kinds, broker)
        own_workers = schedule.of_workers(random.Random(chance.random()), seconds, possible)
        own_broker = schedule.of_broker(random.Random(chance.random()), seconds, possible)
        own_jobs = plan.jobs(random.Random(chance.random()))
        own_network = schedule.of_network(random.Random(chance.random()), seconds, possible)
        own_topics = schedule.of_topics(random.Random(chance.random()), seconds, possible)
        self._jobs = own_jobs if jobs is None else jobs
        self._disturbances = own_workers if of_workers is None else of_workers
        self._brokers = BrokerTroubles(broker, namespace, QUEUES)
        self._troubles: list[tuple[Trouble, Sequence[Disturbance]]] = [
            (self._brokers, own_broker if of_broker is None else of_broker),
            (self._topics, own_topics if of_topics is None else of_topics),
            (self._operators, schedule.of_operators(random.Random(chance.random()), seconds, possible)),
        ]
        self._network: NetworkTroubles | None = None
        if isinstance(broker, Cluster):
            self._network = NetworkTroubles(broker.network, len(broker.nodes), lambda: self._workers.running)
            self._troubles.append((self._network, own_network if of_network is None else of_network))

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
            with ExitStack() as troubles:
                for trouble, planned in self._troubles:
                    troubles.enter_context(going_on(planned, trouble, self._say, self._crew.faults))
                troubles.enter_context(load(lambda _: self._publish(), rate=RATE))
                self._disturb()
            self._say("nothing is disturbed any more")
            self._crew.calm()
            self._crew.faults += self._publisher.flush(self._brokers.outages)
            self._await_the_end(settle * self._patience)
            self._say("the workers stop")
            self._crew.dismiss(60 * self._patience)
            if not self._fault:
                self._epilogue()
            return self._account(), self._crew.faults

    def _publish(self) -> None:
        if self._waiting < _MOST_WAITING:
            self._publisher.publish(next(self._jobs))

    def _count_waiting(self) -> None:
        """Look how many jobs have not been started, once a second."""
        if time.monotonic() >= self._count_again:
            # Of a copy: others are published meanwhile.
            jobs, started = self._publisher.jobs.copy(), self._workers.ledger.started
            left = {name: job for name, job in jobs.items() if name not in started}
            self._waiting = len(left) - len(self._publisher.gone(left))
            self._count_again = time.monotonic() + 1.0

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
            self._count_waiting()
            time.sleep(min(_TICK, left))

    def _await_the_end(self, within: float) -> None:
        give_up = time.monotonic() + within
        if not self._await_all(self._publisher.jobs.keys() - self._publisher.gone(self._publisher.jobs), give_up):
            self._say(f"not all jobs have ended within {within:g} s")
        # Whose record was taken away may run all the same, or never.
        self._await_all(self._publisher.jobs.keys(), min(give_up, time.monotonic() + RECOVERY))

    def _await_all(self, jobs: Set[str], give_up: float) -> bool:
        """Whether these jobs have ended, before a moment that is put off while any job does: keys may have long
        backlogs, also of those that need not end."""
        look_again, ended = 0.0, 0
        while time.monotonic() < give_up:
            self._crew.look()
            if time.monotonic() >= look_again:
                over = self._workers.ledger.done | self._letters.all().keys()
                if jobs <= over:
                    return True
                if len(over) > ended:
                    ended = len(over)
                    give_up = max(give_up, time.monotonic() + RECOVERY)
                look_again = time.monotonic() + 2
            time.sleep(_TICK)
        return False

    def _epilogue(self) -> None:
        """A worker that starts after a clean stop repeats nothing of what is done, which the rules see."""
        self._crew.start(1)
        last = {self._publisher.publish(Planned("chaos", f"last-{number}", 0.0, Plan())) for number in range(40)}
        try:
            until(lambda: last <= self._workers.ledger.done, within=60 * self._patience, what="the last jobs are done")
        except TimeoutError as error:
            self._crew.faults.append(str(error))
        self._crew.dismiss(60 * self._patience)

    def _in_queues(self) -> tuple[list[Published], Set[str]]:
        """The jobs that lie in their queues as sent back by operators, and those that lie there more than once."""
        found = []
        times: Counter[str] = Counter()
        for queue in QUEUES:
            for record in read_all(self._broker.bootstrap, f"{self._namespace}.{queue}"):
                times[identity(record)] += 1
                job = self._publisher.redriven(queue, record) if redrives(record) else None
                if job is not None:
                    found.append(job)
        return found, {job for job, count in times.items() if count > 1}

    def _account(self) -> Account:
        crew, brokers, network = self._crew, self._brokers, self._network
        outages = [*brokers.outages, *(network.outages if network else ())]
        sent, twice = self._in_queues()
        times = Counter(job.id for job in sent)
        # What a redrive that did not come to its end has sent twice is no longer told apart.
        jobs = {**self._publisher.jobs, **{job.id: job for job in sent if times[job.id] == 1}}
        return Account(
            uncommitted=crew.uncommitted,
            jobs=jobs, runs=self._workers.ledger.runs(), dead=self._letters.all(), deaths=crew.deaths,
            freezes=crew.freezes, stops=crew.stops, outages=outages, refusals=brokers.refusals,
            launches=crew.launches, cuts=network.cuts if network else {}, busy=() if self._fault else self._busy,
            changes=self._topics.changes, unseen=unseen(self._workers.all, self._topics.remakes),
            gone=self._publisher.gone(jobs), removals=self._publisher.removals, commands=self._operators.done,
            tries=self._operators.tried, sent=times.keys(), limits=crew.limits, twice=twice,
            failures=self._publisher.failures,
        )  # fmt: skip
