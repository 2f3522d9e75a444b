"""Answers with mlx-lm itself: logits of a model folder under an adapter folder. Reads one JSON list from the standard input, writes one to the standard output."""
import json
import sys
from pathlib import Path

import mlx.core as mx
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_model

mx.set_default_device(mx.cpu)


def answer(request):
    model, _ = load_model(Path(request["model"]))
    if request["adapter"] is not None:
        model = load_adapters(model, request["adapter"])
    model.eval()
    out = model(mx.array(request["ids"])).astype(mx.float32)
    mx.eval(out)
    return out.flatten().tolist()


if __name__ == "__main__":
    print(json.dumps([answer(request) for request in json.load(sys.stdin)]))
