"""The ledger and its rules: a checker that never goes red proves nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import ledger
from tests.ledger import SECOND, Ledger, Run
from tests.ledger_rules import inversions, lost, most_at_once, overlaps, recent, repeats, unexplained

A, B = 100, 200  # processes
MS = SECOND // 1000


def run(seq: int, start: int, end: int | None, *, key: str = "k", process: int = A, done: bool = True) -> Run:
    """A run with times in milliseconds."""
    ended = None if end is None else end * MS
    return Run(f"{key}{seq}", key, seq, process, start * MS, ended, done and end is not None)


GOOD = [
    run(0, 0, 10),
    run(1, 10, 20),
    run(2, 20, 30),
    run(0, 0, 40, key="other"),
    run(1, 50, 60, key="other", process=B),
]


def test_a_good_ledger_breaks_no_rule() -> None:
    assert not lost({"k0", "k1", "k2", "other0", "other1"}, GOOD)
    assert not repeats(GOOD)
    assert not unexplained(GOOD, {})
    assert not inversions(GOOD)
    assert not overlaps(GOOD)


@pytest.mark.parametrize("end", [None, 20])
def test_a_job_without_a_completed_run_is_lost(end: int | None) -> None:
    assert lost({"k0", "k1"}, [run(0, 0, 10), run(1, 10, end, done=False)]) == {"k1"}
    assert lost({"k0", "k1"}, [run(0, 0, 10)]) == {"k1"}


def test_a_run_before_its_predecessor_is_an_inversion() -> None:
    early = run(2, 10, 20)
    assert inversions([run(0, 0, 10), early, run(1, 20, 30)]) == [(early, 1)]


def test_a_run_while_its_predecessor_goes_on_is_an_inversion_and_an_overlap() -> None:
    first, second = run(0, 0, 10), run(1, 9, 20, process=B)
    assert inversions([first, second]) == [(second, 0)]
    assert overlaps([first, second]) == [(first, second)]


def test_a_run_after_a_lost_one_is_an_inversion() -> None:
    after = run(1, 10, 20)
    assert inversions([run(0, 0, 5, done=False), after]) == [(after, 0)]


def test_other_keys_and_jobs_without_a_key_may_overlap() -> None:
    assert not overlaps([run(0, 0, 10), run(0, 5, 15, key="other"), run(0, 0, 9, key=""), run(0, 0, 9, key="")])


def test_an_overlap_with_a_run_longer_ago_is_found() -> None:
    long, short, late = run(0, 0, 100), run(1, 10, 20), run(2, 50, 60)
    assert overlaps([long, short, late]) == [(long, short), (long, late)]


def test_a_killed_run_ends_with_its_process() -> None:
    killed, again = run(0, 0, None), run(0, 50, 60, process=B)
    assert not overlaps([killed, again], {A: 40 * MS})
    assert overlaps([killed, again], {A: 55 * MS}) == [(killed, again)]
    assert overlaps([killed, again]) == [(killed, again)]


def test_every_repetition_is_found() -> None:
    first, again = run(0, 0, 10), run(0, 20, 30)
    assert repeats([first, again, run(1, 30, 40)]) == {"k0": [first, again]}


@pytest.mark.parametrize(
    ("first", "explained"),
    [
        (run(0, 0, None), True),
        (run(0, 0, 980), True),
        (run(0, 0, 940), False),
        (run(0, 0, 980, process=B), False),
        (run(0, 0, None, process=B), False),
    ],
)
def test_only_a_kill_explains_the_repetition_of_what_went_on_or_had_just_ended(first: Run, explained: bool) -> None:
    again = run(0, 2000, 2010, process=B)
    assert unexplained([first, again], {A: 1000 * MS}) == ([] if explained else [(first, again)])


def test_a_kill_explains_no_repetition_before_it() -> None:
    first, again = run(0, 0, 980), run(0, 990, 995, process=B)
    assert unexplained([first, again], {A: 1000 * MS}) == [(first, again)]


def test_every_repetition_needs_a_kill_of_its_own() -> None:
    first, second, third = run(0, 0, None), run(0, 2000, 2010, process=B), run(0, 3000, 3010, process=B)
    assert unexplained([first, second, third], {A: 1000 * MS}) == [(second, third)]


def test_recent_work_of_a_process() -> None:
    runs = [run(0, 0, 940), run(1, 940, 960), run(2, 990, None), run(0, 0, None, key="other", process=B)]
    assert recent(runs, A, 1000 * MS) == {"k1", "k2"}


def test_how_many_at_once() -> None:
    assert most_at_once([]) == 0
    assert most_at_once([run(0, 0, 10), run(1, 10, 20)]) == 1
    assert most_at_once([run(0, 0, 10), run(1, 5, 20), run(2, 9, 12), run(3, 15, 16)]) == 3


def test_what_is_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ledger.DIRECTORY, str(tmp_path))
    book = Ledger(tmp_path)
    with ledger.noted("job", "k", 0):
        assert book.started == {"job"}
        assert not book.done
    with pytest.raises(KeyError), ledger.noted("failing", None, 1):
        raise KeyError
    assert book.done == {"job"}
    done, failed = book.runs()
    assert (done.key, done.seq, done.done, failed.key, failed.done) == ("k", 0, True, "", False)
    assert done.start <= (done.end or 0) <= failed.start <= (failed.end or 0)


def test_a_line_in_the_making_is_left_for_later(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    (tmp_path / "1").write_text("S\t1\t1\tjob\tk\t0\t0\nE\t2\t1\tj")
    assert len(book.entries()) == 1
    with (tmp_path / "1").open("a") as file:
        file.write("ob\tk\t0\t0\n")
    assert len(book.entries()) == 2
    assert book.done == {"job"}


def test_a_killed_process_leaves_its_lines(tmp_path: Path) -> None:
    program = (
        "import os, signal\nfrom tests import ledger\n"
        "for n in range(100): ledger.note(ledger.Mark.START, f'job{n}', 'k', n)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", program], cwd=root, env={ledger.DIRECTORY: str(tmp_path)}, check=False)
    assert len(Ledger(tmp_path).runs()) == 100
