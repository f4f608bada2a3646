"""Near matches and numbers in messages."""

from ftr.errors import counted, did_you_mean, near


def test_the_best_match_comes_first_and_case_does_not_matter() -> None:
    assert (
        near("Learning-Rate", ["learning_rate", "batch_size", "train.learning"])[0]
        == "learning_rate"
    )


def test_a_word_near_nothing_suggests_nothing() -> None:
    assert did_you_mean("zzz", ["learning_rate"]) == ""


def test_the_sentence_names_one_choice_in_backticks() -> None:
    assert did_you_mean("sentimnt", ["qa", "sentiment"]) == " Did you mean `sentiment`?"


def test_one_thing_has_no_plural() -> None:
    numbers = [counted(n, "row", ",") for n in (0, 1, 2000)]
    assert numbers == ["0 rows", "1 row", "2,000 rows"] and counted(1.0, "epoch", "g") == "1 epoch"
