"""Whether what is to be done to the texts can be done to those of the head: before any row is read."""

from functools import cache

from ftr.config.data import DataConfig
from ftr.data.schema import RowSchema
from ftr.errors import ConfigError
from ftr.suggest import did_you_mean


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


@cache
def stop_words(language: str) -> frozenset[str]:
    """Return the stop words of a language, in lower case, by its ISO 639-1 code, from the lists of Stopwords ISO.

    Raises `ConfigError` for a language without a list.
    """
    import stopwordsiso

    code = language.lower()
    known = sorted(stopwordsiso.langs())
    if code not in known:
        raise ConfigError(
            f"`data.stop_words={language}`: there is no list of stop words for this language.{did_you_mean(code, known)} "
            f"Give a code of two letters: {', '.join(known)}; or leave the key out."
        )
    return frozenset(word.lower() for word in stopwordsiso.stopwords(code))
