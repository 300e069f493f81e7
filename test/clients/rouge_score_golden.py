"""Runs Google's rouge-score on made-up pairs and keeps what it says: test/fixtures/rouge/rouge_score.json.

pip install rouge-score==0.1.2
python test/clients/rouge_score_golden.py > test/fixtures/rouge/rouge_score.json
"""

import json
import random
from importlib.metadata import version

from rouge_score import rouge_scorer

KINDS = ["rouge1", "rouge2", "rougeL"]

WRITTEN = [
    ("", ""),
    ("", "profit"),
    ("profit", ""),
    ("!!!", "..."),
    ("profit", "profit"),
    ("profit", "loss"),
    ("Profit rose.", "PROFIT ROSE"),
    ("a b c d", "d c b a"),
    ("a a a b", "a b b b"),
    ("a b a b a b", "a b"),
    ("a b", "a b a b a b"),
    ("net income of $3.10 a share", "net income of $3.1 a share"),
    ("up 5% year-over-year", "up 5 % year over year"),
    ("earnings_per_share", "earnings per share"),
    ("the company's profit", "the companys profit"),
    ("Ergebnis für München", "Ergebnis fur Munchen"),
    ("beneficio de la compañía", "beneficio de la compania"),
    ("\u0130stanbul stocks", "istanbul stocks"),
    ("\u212a class shares", "k class shares"),
    ("\u03a3\u03a3 alpha", "\u03c3\u03c2 alpha"),
    ("\uff21\uff22 fullwidth", "ab fullwidth"),
    ("\u5229\u6da6 up 3", "\u5229\u6da6 up 3"),
    ("\u0664\u0665 percent", "45 percent"),
    ("\u00b2 squared m\u00b2", "2 squared m2"),
    ("line one\nline two", "line two\nline one"),
    ("tabs\tand\u00a0blanks", "tabs and blanks"),
    ("a\u200bb joined", "ab joined"),
    ("emoji \U0001f4c8 up", "emoji up"),
    ("running runs ran", "run runs running"),
    ("constructor __proto__ toString", "constructor proto tostring"),
]


def drawn(generator):
    words = [f"w{i}" for i in range(generator.choice([2, 5, 30]))]
    text = lambda: " ".join(generator.choice(words) for _ in range(generator.randrange(0, 40)))
    return text(), text()


def long(generator, n):
    """A text of n words and the same with a third of the words changed, dropped or doubled."""
    words = [f"w{generator.randrange(n // 3)}" for _ in range(n)]
    other = []
    for word in words:
        kind = generator.randrange(9)
        other += [] if kind == 0 else [word, word] if kind == 1 else ["other"] if kind == 2 else [word]
    return " ".join(words), " ".join(other)


def main():
    generator = random.Random(7)
    scorer = rouge_scorer.RougeScorer(KINDS, use_stemmer=False)
    pairs = WRITTEN + [drawn(generator) for _ in range(60)] + [long(generator, 600)]
    cases = []
    for target, prediction in pairs:
        scores = scorer.score(target, prediction)
        cases.append({"target": target, "prediction": prediction, "f": {kind: scores[kind].fmeasure for kind in KINDS}})
    source = f"rouge-score {version('rouge-score')} (Apache-2.0), use_stemmer=False; texts made up in test/clients/rouge_score_golden.py"
    print(json.dumps({"source": source, "cases": cases}, indent="\t"))


main()
