"""Whether what is to be done to the texts can be done to those of the head: before any row is read."""

from ftr.config.data import DataConfig
from ftr.data.schema import RowSchema
from ftr.data.stop_words import stop_words
from ftr.errors import ConfigError


def check_texts(data: DataConfig, schema: RowSchema, head: str) -> None:
    """Raise `ConfigError` naming the key and the head where there is no text to clean or change, or no such list of stop words."""
    asked = {"data.clean": bool(data.clean), "data.stop_words": data.stop_words is not None, "data.augment": data.augment.wanted}
    keys = [key for key, wanted in asked.items() if wanted]
    if keys and not any(column.type == "text" for column in schema.columns):
        raise ConfigError(f"`{keys[0]}` changes texts, and head `{head}` reads none, but lists of tokens: leave the key out.")
    if data.stop_words is not None:
        if any(column.type == "answers" for column in schema.columns):
            raise ConfigError(
                f"`data.stop_words` cannot go with head `{head}`: answers are taken from the text word for word, stop words included, "
                "and a question is made of them. Leave the key out."
            )
        stop_words(data.stop_words)
