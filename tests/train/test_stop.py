"""Signals: patient within a step, at once elsewhere and the second time."""

from __future__ import annotations

import signal
import sys
import threading

import pytest

from ftr.train.progress import INTERRUPT, Interrupt, current_interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_step_is_finished_first_and_a_second_signal_stops_at_once(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    # Where tests run in the background, interrupts are ignored.
    before = [
        signal.signal(each, signal.default_int_handler) for each in (signal.SIGINT, signal.SIGTERM)
    ]
    stop = Interrupt()
    try:
        with stop.listening():
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
            assert stop.requested, "an interrupt that a library swallows is not lost"
        with stop.listening():
            stop.deferring = True
            signal.raise_signal(number)
            assert stop.requested and "again to stop at once" in capfd.readouterr().err
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(number)
        assert not stop.requested and signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])


def test_an_interrupt_within_a_del_is_neither_lost_nor_printed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Slow:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    hook = sys.unraisablehook
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        stop = Interrupt()
        with stop.listening():
            Slow()
            assert stop.requested and capfd.readouterr().err == ""
    finally:
        signal.signal(signal.SIGINT, before)
    assert sys.unraisablehook is hook


def test_signals_that_are_ignored_stay_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt().listening():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_training_in_another_thread_hears_nothing() -> None:
    heard: list[Interrupt] = []
    before = signal.getsignal(signal.SIGTERM)

    def elsewhere() -> None:
        heard.append(current_interrupt())
        with INTERRUPT.listening():
            heard.append(current_interrupt())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert current_interrupt() is INTERRUPT and INTERRUPT not in heard
    assert signal.getsignal(signal.SIGTERM) is before
