"""Statistics of evaluations: scipy's tests and intervals, sacrebleu's paired bootstrap.

Needs scipy 1.17, sacrebleu 2.6 and numpy. Run `python generate.py` in this folder; no other input."""
import json
from pathlib import Path

import numpy as np
import sacrebleu
import scipy
from scipy import stats
from sacrebleu.metrics import BLEU
from sacrebleu.significance import _compute_p_value

HERE = Path(__file__).parent
pairs = [p for p in json.loads((HERE.parent / "metrics" / "golden.json").read_text())["pairs"] if p["lang"] == "en"]
rng = np.random.default_rng(7)
n, resamples = len(pairs), 150

# A percentile interval: scipy draws its own indices, so that they are recorded as it draws them.
scores = [round(float(x), 3) for x in rng.random(n)]
draws = []


class Recorded(np.random.Generator):
    def integers(self, *args, **kwargs):
        drawn = super().integers(*args, **kwargs)
        draws.extend(np.asarray(drawn).reshape(-1, n).tolist())
        return drawn


interval = stats.bootstrap((np.array(scores),), np.mean, n_resamples=resamples, method="percentile",
                           confidence_level=0.95, rng=Recorded(np.random.PCG64(3))).confidence_interval
assert len(draws) == resamples

# Two systems: the golden predictions, and the same without their second word.
first = [p["prediction"] for p in pairs]
second = [" ".join(w for i, w in enumerate(p["prediction"].split(" ")) if i != 1) for p in pairs]
references = [p["reference"] for p in pairs]


def corpus(hypotheses, indices):
    return BLEU().corpus_score([hypotheses[i] for i in indices], [[references[i] for i in indices]]).score


everything = range(n)
bleu = [corpus(first, everything), corpus(second, everything)]
differences = np.array([corpus(second, d) - corpus(first, d) for d in draws])
p_value = _compute_p_value(differences, abs(bleu[1] - bleu[0]))
low, high = np.quantile(differences, [0.025, 0.975])

counts = [(0, 0), (1, 0), (5, 5), (9, 2), (3, 14), (40, 61), (500, 430), (2000, 2150)]
probabilities = [1e-300, 1e-20, 1e-6, 0.001, 0.025, 0.07, 0.2, 0.5, 0.8, 0.9, 0.925, 0.975, 0.9999]
json.dump({
    "versions": {"scipy": scipy.__version__, "numpy": np.__version__, "sacrebleu": sacrebleu.__version__},
    "draws": draws,
    "interval": {"scores": scores, "low": interval.low, "high": interval.high},
    "paired": {"first": first, "second": second, "references": references, "bleu": bleu, "p_value": p_value,
               "low": low, "high": high},
    "sign": [{"wins": a, "losses": b, "p_value": stats.binomtest(a, a + b).pvalue if a + b else 1.0} for a, b in counts],
    "normal_quantiles": [[p, stats.norm.ppf(p)] for p in probabilities],
    "sample_sizes": [{"difference": d, "deviation": s, "significance": a, "power": w,
                      "samples": int(np.ceil(((stats.norm.ppf(1 - a / 2) + stats.norm.ppf(w)) * s / d) ** 2))}
                     for d, s, a, w in ((0.05, 0.5, 0.05, 0.8), (0.01, 0.7, 0.01, 0.9), (2, 30, 0.05, 0.8))],
}, (HERE / "golden.json").open("w"), indent=None)
