"""A Python of its own, with a plugin that pip installed in editable mode, the way a plugin author
works.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

# What an editable install needs, in as few lines as pip allows: no build tool has to be there, nor
# an index.
BACKEND = """
import zipfile
from pathlib import Path

NAME, VERSION = "ftr_pears", "1.0"


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    info = f"{NAME}-{VERSION}.dist-info"
    files = {
        "_pears.pth": str(Path.cwd() / "src"),
        f"{info}/METADATA": "Metadata-Version: 2.1\\nName: ftr-pears\\nVersion: 1.0\\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
        f"{info}/entry_points.txt": "[ftr.plugins]\\npears = ftr_pears.plugin\\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\\n" for name in [*files, f"{info}/RECORD"])
    wheel = f"{NAME}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return wheel
"""
PLUGIN = """
from ftr import hookimpl
from ftr.registry.specs import DatasetSpec, MetricSpec


@hookimpl
def ftr_datasets():
    return [DatasetSpec(name="pears", target="ftr_pears.rotten:Rotten", summary="Cannot be loaded.")]


@hookimpl
def ftr_metrics():
    return [MetricSpec(name="pears", target="ftr_pears.metric:Pears", summary="Counts pears.", mode="max")]
"""
ROTTEN = """
class Rotten:
    def load(self, options):
        raise RuntimeError("the pears are rotten")
"""


def python_with_pears(folder: Path) -> Path:
    """Make a virtual environment in `folder` that sees all packages of this one, and the plugin
    `ftr-pears`; return its Python.
    """
    source = folder / "pears"
    package = source / "src" / "ftr_pears"
    package.mkdir(parents=True)
    files = {
        source / "pyproject.toml": "[build-system]\nrequires = []\nbuild-backend = "
        '"backend"\nbackend-path = ["."]\n',
        source / "backend.py": BACKEND,
        package / "__init__.py": "",
        package / "plugin.py": PLUGIN,
        package / "metric.py": "class Pears:\n    basket = 'full'\n",
        package / "rotten.py": ROTTEN,
    }
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    python = new_python(folder)
    pip_install(python, "--no-build-isolation", "--editable", str(source))
    return python


def new_python(folder: Path, *, own: bool = True) -> Path:
    """Make a virtual environment in `folder` that sees all packages of this one, ftr itself only
    if `own`; return its Python.
    """
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True
    )
    python = folder / "venv" / "bin" / "python"
    asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    (Path(site) / "all.pth").write_text(
        "\n".join([sysconfig.get_path("purelib"), *(_own_sources() if own else [])]) + "\n",
        encoding="utf-8",
    )
    return python


def pip_install(python: Path, *words: str) -> None:
    """Install into an environment that has no pip of its own, without any index."""
    install = ["install", "--quiet", "--no-deps", "--no-index", *words]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "--python",
            str(python),
            *install,
        ],
        check=True,
    )


def _own_sources() -> list[str]:
    """Return where ftr lies: an editable install of its own is not seen from another
    environment.
    """
    import ftr
    import ftr_plugins

    return [str(Path(package.__path__[0]).parent) for package in (ftr, ftr_plugins)]
