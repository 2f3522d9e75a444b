"""Time greedy decoding with llama.cpp (xllamacpp) on a CPU and print one JSON line.

    python peer_llama.py --gguf FILE --prompts prompts.json [--counts 1,8,32] [--tokens 96] [--threads 2]

prompts.json: as for peer_generate.py. llama.cpp's server decodes COUNT prompts in as many slots (continuous batching),
called in this process, without HTTP. ignore_eos keeps it from choosing an end token. The key-value cache of prompts is
not reused. Reported for each count: seconds and the texts.
"""

import argparse
import json
import resource
import time

import xllamacpp

parser = argparse.ArgumentParser()
parser.add_argument("--gguf", required=True)
parser.add_argument("--prompts", required=True)
parser.add_argument("--counts", default="1,8,32")
parser.add_argument("--tokens", type=int, default=96)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

with open(args.prompts, encoding="utf-8") as file:
    work = json.load(file)


def open_server(slots):
    params = xllamacpp.CommonParams()
    params.model.path = args.gguf
    params.n_parallel = slots
    params.n_ctx = slots * (max(map(len, work["prompts"])) + args.tokens + 32)
    params.n_gpu_layers = 0
    params.cache_ram_mib = 0
    params.verbosity = 0
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    return xllamacpp.Server(params)


def generate(server, prompts, tokens):
    reply = server.handle_completions(
        {
            "prompt": prompts if len(prompts) > 1 else prompts[0],
            "n_predict": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": False,
        }
    )
    if "choices" not in reply:
        raise SystemExit(f"llama.cpp refused the prompts: {json.dumps(reply)}")
    choices = sorted(reply["choices"], key=lambda choice: choice["index"])
    if any(choice["finish_reason"] != "length" for choice in choices):
        raise SystemExit("llama.cpp ended a reply early.")
    return [choice["text"] for choice in choices]


results = []
for count in map(int, args.counts.split(",")):
    prompts = work["prompts"][:count]
    server = open_server(count)
    generate(server, prompts, min(8, args.tokens))
    started = time.perf_counter()
    texts = generate(server, prompts, args.tokens)
    results.append({"prompts": count, "seconds": time.perf_counter() - started, "texts": texts})
    del server
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
system = xllamacpp.get_system_info()
version = f"llama.cpp (xllamacpp {xllamacpp.__version__})"
print(json.dumps({"peer": version, "system": system, "results": results, "peak_rss_gb": peak / 1e9}))
