"""A clock that tests turn on: see the fixture `time`."""


class Clock:
    """The seconds that `time.monotonic` gives."""

    now = 1000.0
