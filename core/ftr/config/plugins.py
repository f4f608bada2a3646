"""The key `plugins`: files that must be loaded before anything else that was written can be understood."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ftr.config.overrides import PLUGINS as KEY
from ftr.config.overrides import Layer
from ftr.config.settings import read_settings
from ftr.config.validate import shown
from ftr.errors import ConfigError
from ftr.registry import Registry, registry_with


def registry_for(arguments: Sequence[str] | Mapping[str, object]) -> Registry:
    """Return the registry of this process with the plugin files that settings name, which it keeps.

    Raises `ConfigError` where they cannot be read, and `RequestError` for a file that cannot be a plugin.
    """
    return registry_with(plugin_files(read_settings(arguments)))


def plugin_files(settings: Layer) -> list[str]:
    """Return the files that `plugins` names. Raises `ConfigError` where it names none."""
    setting = settings.get(KEY)
    if setting is None or setting.value is None:
        return []
    named = setting.value if isinstance(setting.value, list | tuple) else [setting.text]
    if not all(isinstance(name, str) and name for name in named):
        raise ConfigError(f"`{KEY}` is {shown(setting.value)} ({setting.origin}): give paths of Python files, `{KEY}=[./my_task.py]`.")
    return [str(name) for name in named]


def loaded_files(settings: Layer, registry: Registry) -> list[str]:
    """Return the paths of all plugins of one file in the registry.

    Raises `ConfigError` for one that `plugins` names and the registry lacks.
    """
    loaded = {plugin.distribution: plugin.origin for plugin in registry.files}
    absent = next((name for name in plugin_files(settings) if Path(name).name not in loaded), None)
    if absent is not None:
        failed = next((plugin for plugin in registry.plugins if plugin.distribution == Path(absent).name), None)
        cause = f"it did not load: {failed.cause}" if failed else "it is not in the registry that was given"
        raise ConfigError(f"`{KEY}` names `{absent}` ({settings[KEY].origin}), and {cause.rstrip('.')}.")
    return list(loaded.values())
