"""The parts of a report on confidence: calibration, abstaining, and labels in doubt."""

from __future__ import annotations

from ftr.results.report.blocks import Section
from ftr.results.report.source import MissingError, Source


def calibration(source: Source) -> Section:
    raise MissingError("TODO")


def abstaining(source: Source) -> Section:
    raise MissingError("TODO")


def suspicious(source: Source) -> Section:
    raise MissingError("TODO")
