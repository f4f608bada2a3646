"""The text columns that the heads for whole texts share."""

from ftr.plugin import Column

TEXT = Column(
    name="text",
    aliases=(
        "sentence",
        "review",
        "tweet",
        "content",
        "comment",
        "document",
        "body",
        "text_a",
        "sentence1",
        "sentence_1",
        "premise",
    ),
)
TEXT_PAIR = Column(
    name="text_pair",
    aliases=("text_b", "sentence2", "sentence_2", "hypothesis"),
    required=False,
)
