"""Metrics of replies that `metrics/` lacks: TER of characters, self-BLEU, pass@k.

Needs sacrebleu 2.6. Run `python generate.py` in this folder; the texts are those of ../metrics/golden.json."""
import json
from math import comb
from pathlib import Path

import sacrebleu
from sacrebleu.metrics import BLEU, TER

HERE = Path(__file__).parent
pairs = json.loads((HERE.parent / "metrics" / "golden.json").read_text())["pairs"]
spaced = lambda text: " ".join(c for c in text if not c.isspace())
zh = [(spaced(p["prediction"]), spaced(p["reference"])) for p in pairs if p["lang"] == "zh"]
# Long texts with far shifts, for the limits of the search.
words = [f"w{i * 7 % 41}" for i in range(120)]
long = [(" ".join(words[60:] + words[:60]), " ".join(words)), (" ".join(words[::-1]), " ".join(words)),
        ("w1", " ".join(words)), (" ".join(words), "w1 w2"), ("", "a b"), ("a b", ""), ("", "")]


def ter(rows):
    return {"corpus": TER().corpus_score([h for h, _ in rows], [[r for _, r in rows]]).score,
            "sentences": [TER().sentence_score(h, [r]).score for h, r in rows]}


def self_bleu(texts, tokenize):
    bleu = BLEU(tokenize=tokenize, effective_order=True)
    scores = [bleu.sentence_score(t, texts[:i] + texts[i + 1:]).score for i, t in enumerate(texts)]
    return sum(scores) / len(scores)


en = [p["prediction"] for p in pairs if p["lang"] == "en" and p["prediction"]]
json.dump({
    "versions": {"sacrebleu": sacrebleu.__version__},
    "ter_characters": ter(zh),
    "ter_long": {"pairs": long, **ter(long)},
    "self_bleu": {"en.13a": self_bleu(en, "13a"),
                  "zh.zh": self_bleu([p["prediction"] for p in pairs if p["lang"] == "zh"], "zh")},
    "pass_at_k": [[n, c, k, 1 - comb(n - c, k) / comb(n, k)] for n, c, k in
                  ((1, 0, 1), (1, 1, 1), (10, 3, 1), (10, 3, 5), (200, 7, 10), (200, 199, 2), (5, 5, 3))],
}, (HERE / "golden.json").open("w"), ensure_ascii=False)
