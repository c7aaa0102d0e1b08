"""Schedules of two operations: running, enumerating, sampling and naming them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from django_google_link.accounts.authorization_requests import PendingAuthorization
from tests.interleavings.operations import (
    IN_TRANSACTION,
    OPERATIONS,
    SCENARIOS,
    Act,
    is_right_answer,
    may_take_link_away,
)
from tests.interleavings.scheduler import Run, Scheduler, Stuck
from tests.interleavings.world import World

#: A switch that never happens: worker 2 begins when worker 1 has finished.
NEVER = 10**6


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Two operations, and the steps at which the workers switch.

    Attributes:
        scenario: one of ``SCENARIOS``.
        names: the operations of worker 1 and worker 2.
        first: the step of worker 1 before which worker 2 gets the turn, from 1.
        second: the step, counted from there on, before which they switch again, if they do.
    """

    scenario: str
    names: tuple[str, str]
    first: int
    second: int | None = None

    def __str__(self) -> str:
        switches = [self.first] if self.second is None else [self.first, self.second]
        return ",".join([self.scenario, *self.names, *map(str, switches)])

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Return the schedule with this name."""
        scenario, one, other, first, *second = text.split(",")
        return cls(
            scenario=scenario,
            names=(one, other),
            first=int(first),
            second=int(second[0]) if second else None,
        )


@dataclass(kw_only=True)
class Tally:
    """The results of many schedules.

    Attributes:
        schedules: how many were run.
        deadlocks: how many deadlocks PostgreSQL had to resolve.
        callers_own: how many errors were the caller's own, who then retried.
        right_answers: how many errors were correct, such as that the user was deleted.
        faults: what must not happen, and the schedules in which it did.
    """

    schedules: int = 0
    deadlocks: int = 0
    callers_own: int = 0
    right_answers: int = 0
    faults: dict[str, list[Schedule]] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        """Add the results of other schedules."""
        self.schedules += other.schedules
        self.deadlocks += other.deadlocks
        self.callers_own += other.callers_own
        self.right_answers += other.right_answers
        for fault, schedules in other.faults.items():
            self.faults.setdefault(fault, []).extend(schedules)

    def counts(self) -> dict[str, int]:
        """Return the counts by their names."""
        return {
            "schedules": self.schedules,
            "deadlocks": self.deadlocks,
            "errors of the caller's own": self.callers_own,
            "right answers": self.right_answers,
            "faults": sum(map(len, self.faults.values())),
        }

    def describe_faults(self) -> list[str]:
        """Return each kind of fault, its count, and the command that repeats one."""
        return [
            f'{len(schedules)} × {fault}: make interleavings ONLY="{schedules[0]}"'
            for fault, schedules in sorted(self.faults.items())
        ]


class Interleavings:
    """Runs schedules, and tallies their results.

    Args:
        world: the users and links on which they run.
        scheduler: runs the two workers.
    """

    def __init__(self, world: World, scheduler: Scheduler) -> None:
        self.tally = Tally()
        self._world = world
        self._scheduler = scheduler

    def run(self, schedule: Schedule) -> Run:
        """Run a schedule, and add its result to the tally."""
        scenario = SCENARIOS[schedule.scenario]
        self._world.begin(scenario.links)
        acts = [
            OPERATIONS[name](self._world, role)
            for name, role in zip(schedule.names, scenario.roles, strict=True)
        ]
        try:
            run = self._scheduler.run(
                [act.call for act in acts], first=schedule.first, second=schedule.second
            )
        except Stuck as error:
            raise AssertionError(f"{schedule}: {error}") from None
        faults = [*self._judge_errors(schedule, run), *self._find_lost_links(schedule, run, acts)]
        faults += self._world.find_faults()
        if run.deadlocks and "delete" not in schedule.names and not IN_TRANSACTION:
            # A retry has hidden it, but our operations should all lock in one order.
            faults.append("a deadlock")
        self.tally.add(
            Tally(
                schedules=1,
                deadlocks=run.deadlocks,
                callers_own=self._world.callers_own,
                right_answers=sum(error is not None for error in run.errors),
                faults={
                    f"{', '.join(schedule.names)} ({schedule.scenario}): {fault}": [schedule]
                    for fault in faults
                },
            )
        )
        return run

    def run_all(self, scenario: str, names: tuple[str, str]) -> None:
        """Run two operations in every order of their steps with at most two switches."""
        for first in range(1, NEVER):
            run = self.run(Schedule(scenario=scenario, names=names, first=first))
            if len(run.before) < first:
                return  # Worker 1 finished before the switch.
            for second in _list_second_switches(run):
                self.run(Schedule(scenario=scenario, names=names, first=first, second=second))

    def run_some(self, scenario: str, names: tuple[str, str], random: Random) -> None:
        """Run two operations in some of these orders.

        Args:
            random: chooses them.
        """
        steps = len(self.run(Schedule(scenario=scenario, names=names, first=NEVER)).before)
        for first in random.sample(range(1, steps + 1), min(_FIRST_DRAWN, steps)):
            run = self.run(Schedule(scenario=scenario, names=names, first=first))
            seconds = list(_list_second_switches(run))
            for second in random.sample(seconds, min(_SECOND_DRAWN, len(seconds))):
                self.run(Schedule(scenario=scenario, names=names, first=first, second=second))

    def _judge_errors(self, schedule: Schedule, run: Run) -> Iterator[str]:
        for name, other, error in zip(
            schedule.names, reversed(schedule.names), run.errors, strict=True
        ):
            if error is not None and not is_right_answer(name, error, beside=other):
                yield f"{name} raised {type(error).__name__}: {str(error).splitlines()[0]:.150}"

    def _find_lost_links(self, schedule: Schedule, run: Run, acts: list[Act]) -> Iterator[str]:
        """Yield acknowledged links that are missing, unless the other worker removed them."""
        for name, other, act, result, error in zip(
            schedule.names,
            reversed(schedule.names),
            acts,
            run.results,
            run.errors,
            strict=True,
        ):
            if act.consent is None or error is not None or may_take_link_away(other, name):
                continue
            if isinstance(result, PendingAuthorization):
                # If the other one ended the grant meanwhile, nothing was acknowledged.
                if other not in {"unlink", "delete"}:
                    yield f"{name} asks for consent again"
            elif not self._world.has_link(act.consent.user, act.consent.holder):
                yield f"what {name} has acknowledged is not linked"


#: How many first switches of two operations, and second ones of each of these, CI runs.
_FIRST_DRAWN, _SECOND_DRAWN = 1, 1


def _list_second_switches(run: Run) -> Iterator[int]:
    """Yield the steps before which the workers can switch again.

    Not before the first step of worker 2: that would be no switch at all.
    """
    for number, step in enumerate(run.after, start=1):
        if step.may_switch and (number, step.worker) != (1, 1):
            yield number
