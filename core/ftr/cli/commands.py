"""The commands by name: a static table, so that `ftr --help` imports none of them."""

from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

from ftr.cli.answer import Answer


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command lives and what it does, in a few words."""

    module: str
    summary: str


COMMANDS = {
    "run": Command("ftr.cli.run", "fine-tune: one training, one run directory"),
    "sweep": Command("ftr.cli.sweep", "search learning rate, batch size, epochs or any other key over many trials"),
    "resume": Command("ftr.cli.resume", "go on with a run or sweep that was stopped"),
    "submit": Command("ftr.cli.submit", "hand a command to a Ray cluster and follow it"),
    "evaluate": Command("ftr.cli.evaluate", "score a finished run on its own or on other data"),
    "predict": Command("ftr.cli.predict", "answer or label the rows of a file or of stdin"),
    "runs": Command("ftr.cli.runs", "list the runs and sweeps made so far"),
    "list": Command("ftr.cli.list", "what is registered: tasks, datasets, models, heads, metrics"),
    "show": Command("ftr.cli.show", "the resolved configuration, and where each value came from"),
    "schema": Command("ftr.cli.schema", "the configuration as JSON Schema"),
    "plugins": Command("ftr.cli.plugins", "the plugins installed, and what is wrong with them"),
    "new": Command("ftr.cli.new", "a package to start from: a task, dataset, head, metric or model of one's own"),
}


class CommandModule(Protocol):
    """What the module of a command offers."""

    def configure(self, parser: ArgumentParser) -> None:
        """Add the command's arguments; `--json` is there already."""
        ...

    def execute(self, args: Namespace) -> Answer:
        """Do it. Raises `FtrError`."""
        ...


def load_command(name: str) -> CommandModule:
    """Import the module of the command `name`."""
    module: CommandModule = import_module(COMMANDS[name].module)
    return module
