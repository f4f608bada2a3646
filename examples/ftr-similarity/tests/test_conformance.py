"""The task and its parts do what ftr relies on."""

from ftr.testing import HeadConformance, TaskConformance


class TestParaphrase(TaskConformance):
    name = "paraphrase"


class TestRating(HeadConformance):
    name = "paraphrase"
    families = ("bert", "roberta", "distilbert", "gpt2")
    rows = [
        {"id": "a", "text": "A dog runs.", "text_pair": "The dog is running.", "score": 4.8},
        {"id": "b", "text": "Apples are dearer this year.", "text_pair": "Good night.", "score": 0},
        {"id": "c", "text": "He sings.", "text_pair": "She sings, and all hear it.", "score": 2.5},
        {"id": "d", "text": "The lake froze.", "text_pair": "Ice covers the lake.", "score": 4.1},
    ]
