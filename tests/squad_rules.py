"""The SQuAD authors' published evaluation rules, written out again and apart from ours, to compare
with.
"""

import collections
import re
import string
from collections.abc import Mapping, Sequence


def normalize_answer(s: str) -> str:
    """Lower text and remove punctuation, articles and extra white space."""

    def remove_articles(text: str) -> str:
        return re.sub(re.compile(r"\b(a|an|the)\b", re.UNICODE), " ", text)

    def white_space_fix(text: str) -> str:
        return " ".join(text.split())

    def remove_punc(text: str) -> str:
        exclude = set(string.punctuation)
        return "".join(ch for ch in text if ch not in exclude)

    return white_space_fix(remove_articles(remove_punc(s.lower())))


def _tokens(s: str) -> list[str]:
    return normalize_answer(s).split() if s else []


def _f1(a_gold: str, a_pred: str) -> float:
    gold_toks, pred_toks = _tokens(a_gold), _tokens(a_pred)
    common = collections.Counter(gold_toks) & collections.Counter(pred_toks)
    num_same = sum(common.values())
    if len(gold_toks) == 0 or len(pred_toks) == 0:
        return int(gold_toks == pred_toks)
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(pred_toks)
    recall = 1.0 * num_same / len(gold_toks)
    return (2 * precision * recall) / (precision + recall)


def evaluate_v2(golds: Mapping[str, Sequence[str]], preds: Mapping[str, str]) -> dict[str, float]:
    """Return what evaluate-v2.0.py prints: `golds` are the answer texts by question id, `preds` one
    text by id.
    """
    exact, f1 = {}, {}
    for qid, texts in golds.items():
        gold_answers = [text for text in texts if normalize_answer(text)]
        if not gold_answers:
            gold_answers = [""]
        exact[qid] = max(
            int(normalize_answer(a) == normalize_answer(preds[qid])) for a in gold_answers
        )
        f1[qid] = max(_f1(a, preds[qid]) for a in gold_answers)
    result = {}
    has_answer = [qid for qid in golds if bool(golds[qid])]
    no_answer = [qid for qid in golds if not bool(golds[qid])]
    for prefix, qids in (("", list(golds)), ("HasAns_", has_answer), ("NoAns_", no_answer)):
        if qids:
            total = len(qids)
            result[f"{prefix}exact"] = 100.0 * sum(exact[qid] for qid in qids) / total
            result[f"{prefix}f1"] = 100.0 * sum(f1[qid] for qid in qids) / total
            result[f"{prefix}total"] = total
    return result


def evaluate_v1(golds: Mapping[str, Sequence[str]], preds: Mapping[str, str]) -> dict[str, float]:
    """Return what evaluate-v1.1.py prints."""

    def f1_score(prediction: str, truth: str) -> float:
        prediction_tokens, truth_tokens = (
            normalize_answer(prediction).split(),
            normalize_answer(truth).split(),
        )
        common = collections.Counter(prediction_tokens) & collections.Counter(truth_tokens)
        num_same = sum(common.values())
        if num_same == 0:
            return 0
        precision, recall = (
            1.0 * num_same / len(prediction_tokens),
            1.0 * num_same / len(truth_tokens),
        )
        return (2 * precision * recall) / (precision + recall)

    f1 = exact_match = total = 0.0
    for qid, texts in golds.items():
        total += 1
        exact_match += max(normalize_answer(preds[qid]) == normalize_answer(text) for text in texts)
        f1 += max(f1_score(preds[qid], text) for text in texts)
    return {"exact_match": 100.0 * exact_match / total, "f1": 100.0 * f1 / total}
