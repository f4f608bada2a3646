"""All that was written for one command: the words or the mapping, over the files that `config` names."""

from collections.abc import Mapping, Sequence

from ftr.config.overrides import Layer, merge, parse_mapping, parse_words, read_file
from ftr.config.validate import shown
from ftr.errors import ConfigError
from ftr.paths import expanded


def read_settings(arguments: Sequence[str] | Mapping[str, object]) -> Layer:
    """Return what `key=value` words, or a mapping of nested or dotted keys, set, over the YAML files that `config` names.

    Raises `ConfigError`.
    """
    given = parse_mapping(arguments) if isinstance(arguments, Mapping) else parse_words(arguments)
    setting = given.pop("config", None)
    if setting is None:
        return given
    named = setting.value if isinstance(setting.value, list | tuple) else [setting.text]
    paths = [expanded(name, "`config`:") for name in named if isinstance(name, str) and name]
    if not paths or len(paths) < len(named):
        raise ConfigError(f"`config` is {shown(setting.value)} ({setting.origin}): give the path of a YAML file.")
    return merge([*map(read_file, paths), given])
