"""Queue and retry partition against a model; and that the model goes red when a rule of parking is switched off."""

from __future__ import annotations

from hypothesis import settings

from tests.unit.core.parked_machine import ParkingMachine


class LooseMachine(ParkingMachine):
    """The same without an order: a failing job holds back nobody."""

    ordered = False


TestParking = ParkingMachine.TestCase
TestParking.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)

TestLoose = LooseMachine.TestCase
TestLoose.settings = settings(max_examples=40, stateful_step_count=50, deadline=None)
