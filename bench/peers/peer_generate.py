"""Time greedy decoding with transformers on a CPU and print one JSON line.

    python peer_generate.py --model DIR --prompts prompts.json [--counts 1,8,32] [--tokens 96]
                            [--dtype float32|bfloat16] [--threads 2]

prompts.json: {"prompts": [[id, ...], ...], "stop": [id, ...]}. The first COUNT prompts are one batch, padded on the left.
Tokens in "stop" are never chosen (min_new_tokens), so that every reply has exactly --tokens tokens.
Every count is generated once with few tokens before it is timed. Reported for each count: seconds and the ids.
"""

import argparse
import json
import resource
import time

import torch
import transformers
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--prompts", required=True)
parser.add_argument("--counts", default="1,8,32")
parser.add_argument("--tokens", type=int, default=96)
parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()
torch.set_num_threads(args.threads)

with open(args.prompts, encoding="utf-8") as file:
    work = json.load(file)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=getattr(torch, args.dtype)).eval()


def generate(prompts, tokens):
    longest = max(map(len, prompts))
    pad = work["stop"][0] if work["stop"] else 0
    ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    output = model.generate(
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        min_new_tokens=tokens,
        max_new_tokens=tokens,
        eos_token_id=work["stop"] or None,
        pad_token_id=pad,
    )
    return output[:, longest:].tolist()


results = []
with torch.inference_mode():
    for count in map(int, args.counts.split(",")):
        prompts = work["prompts"][:count]
        generate(prompts, min(8, args.tokens))
        started = time.perf_counter()
        ids = generate(prompts, args.tokens)
        results.append({"prompts": count, "seconds": time.perf_counter() - started, "ids": ids})
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
version = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"
print(json.dumps({"peer": version, "dtype": args.dtype, "results": results, "peak_rss_gb": peak / 1e9}))
