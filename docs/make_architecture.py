"""Write `architecture.md` from the source tree: `python docs/make_architecture.py`."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "core" / "ftr"
PAGE = Path(__file__).with_name("architecture.md")
PACKAGES = (
    "registry",
    "config",
    "data",
    "model",
    "train",
    "cluster",
    "runs",
    "study",
    "results",
    "results/report",
    "results/plan",
    "serving",
    "cli",
)
"""In the order of their layers: a package imports only those before it."""
APART = ("testing", "_template")
INTRODUCTION = """\
# The code, and three ways through it

<!-- made by docs/make_architecture.py; a test compares -->

`core/ftr` holds the tool and `plugins/ftr_plugins` the built-in tasks, which use the same hooks as any other plugin. A package
imports only the packages above it in this list, and there is no import circle; `make check` tests both. Heavy libraries (torch,
transformers, datasets, ray) are imported by the commands that need them, never by `ftr list`, `ftr plugins` or `--help`.
"""
WAYS = """\
## The way of a configuration

1. `cli/run.py` takes the words of the command line; `study/study.py` holds the public function `ftr.run`.
2. `config/parse.py` turns words and YAML files into one flat layer of `Setting`s, each with its `Origin`. It loads the one-file
   plugins that the settings name (`registry/plugin_files.py`).
3. `config/resolve.py` puts the layers over each other (built-in default, task, files, command line), finds the components in the
   registry (`registry/registry.py`, `config/components.py`) and validates the result once as a `RunConfig` (`config/schema.py`).
4. `runs/run.py` opens the run directory (`runs/directory.py`) and writes `run.json` with the configuration and all origins. One
   training, several (`study/study.py`) and a sweep (`study/sweep.py`) are opened, interrupted, closed and resumed
   (`study/resume.py`) by the same class, `Job`.
5. `train/session.py` builds the training from the configuration: optimizer and arguments (`train/optim.py`), batches
   (`train/batches.py`), trainer (`train/trainer.py`).

## The way of a row

1. `data/layout.py` decides which files belong to which split, and the format of each; `data/read.py` also reads Hub datasets
   and registered ones.
2. A reader yields records with their places: `data/tables.py`, `data/text_files.py` or `data/squad.py`, over the bytes and the
   text of `data/files.py`.
3. `data/columns.py` matches the columns of the file to those of the head's `RowSchema` (`registry/schema.py`) and validates each
   row; `data/answers.py` does this for cells of answers. An invalid row keeps its place and its cause (`data/rows.py`) and is
   written to a file of the run (`runs/directory.py`).
4. `data/prepare.py` splits (`data/splits.py`), names classes (`data/labels.py`), cleans (`data/clean.py`) and augments
   (`data/augment.py`).
5. The head of the plugin encodes the rows. `data/encode.py` keeps the result in Arrow files named by a hash of all inputs.
6. `train/batches.py` and `train/steps.py` form the batches of each optimizer step. `train/inference.py` turns outputs into
   predictions, and `train/scoring.py` turns predictions into scores.

## The way of a trial

1. `cli/sweep.py` calls `ftr.sweep` in `study/sweep.py`. `config/sweep.py` separates the sweep's own keys from its search space
   (`config/space.py`) and checks the corners of the space.
2. `study/directory.py` creates the sweep directory with its record and its journal, the only truth about what happened.
3. `study/remote.py` prepares and encodes the data once, before the first trial. `cluster/connect.py` connects to Ray, and
   `cluster/capacity.py` computes how many trials fit.
4. Inside Ray Tune, `study/tune.py` proposes configurations (`study/search.py`), writes each to the journal before it starts,
   and ends the sweep when its budget is used up. `study/schedulers.py` stops weak trials.
5. `study/trial.py` trains one configuration in a reused process, as an ordinary run, and reports every evaluation.
6. `study/trials.py` reads the journal back and ranks the trials. `study/sweep.py` exports the winner as `best/`,
   `study/ensemble.py` joins the best ones if asked to, and `study/analysis.py` computes which parameter mattered.
"""


def page() -> str:
    """Return the page."""
    root = [path for path in sorted(SOURCE.glob("*.py")) if path.name != "__init__.py"]
    parts = [INTRODUCTION, "## The tree\n", *_lines("ftr", [SOURCE / "__init__.py", *root])]
    for package in PACKAGES:
        parts += _lines(package, sorted((SOURCE / package).glob("*.py")))
    parts.append(
        "`testing/` is the conformance kit for plugin authors, a pytest plugin. `_template/` is "
        "what `ftr new` copies.\n"
    )
    return "\n".join([*parts, WAYS])


def _lines(name: str, files: list[Path]) -> Iterator[str]:
    """Yield a package: its purpose, and a row for each of its files."""
    package, *others = sorted(files, key=lambda path: (path.name != "__init__.py", path.name))
    yield f"### `{name}/`\n"
    yield f"{purpose(package)}\n"
    yield "| file | purpose |\n|---|---|"
    yield from (f"| `{path.name}` | {purpose(path)} |" for path in others)
    yield ""


def purpose(path: Path) -> str:
    """Return the first paragraph of a module's docstring on one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
