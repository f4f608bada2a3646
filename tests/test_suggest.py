"""Near matches in messages."""

from ftr.errors import did_you_mean, near


def test_the_best_match_comes_first_and_case_does_not_matter() -> None:
    assert (
        near("Learning-Rate", ["learning_rate", "batch_size", "train.learning"])[0]
        == "learning_rate"
    )


def test_a_word_near_nothing_suggests_nothing() -> None:
    assert did_you_mean("zzz", ["learning_rate"]) == ""


def test_the_sentence_names_one_choice_in_backticks() -> None:
    assert did_you_mean("sentimnt", ["qa", "sentiment"]) == " Did you mean `sentiment`?"
