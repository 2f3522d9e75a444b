"""
Hugging Face datasets and tokenizers: read, clean, deduplicate, render, tokenise and pack, in --processes processes;
then tokenising alone, on one core.
--work less: spaces, Unicode form and exact duplicates, without marks of what is learned. --work same: also quality
rules, redaction, near duplicates and the assistant's mask, as Whetstone does.
Tokenising alone: a tokenizer of its own encodes the first texts (a tenth, 2,000 at most) before the others are timed;
the faster of two methods counts.
"""

import argparse
import json
import os
import pathlib
import resource
import tempfile
import time
import unicodedata

os.environ.setdefault("RAYON_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
parser = argparse.ArgumentParser()
parser.add_argument("--data")
parser.add_argument("--model")
parser.add_argument("--texts")
parser.add_argument("--max-length", type=int)
parser.add_argument("--processes", type=int, default=1)
parser.add_argument("--work", choices=["less", "same"], default="less")
args = parser.parse_args()

from datasets import disable_progress_bars, load_dataset
from transformers import AutoTokenizer
from trl import pack_dataset

disable_progress_bars()
tokenizer = AutoTokenizer.from_pretrained(args.model)
# Whetstone renders with this template, too: it marks the assistant's part, which the model's own does not.
tokenizer.chat_template = pathlib.Path(__file__).with_name("chatml.jinja").read_text(encoding="utf-8")


def clean(row):
    for message in row["messages"]:
        message["content"] = " ".join(unicodedata.normalize("NFC", message["content"]).split())
    return row


seen = set()


def first(row):
    key = json.dumps(row["messages"]).lower()
    if key in seen:
        return False
    seen.add(key)
    return True


def tokenize(rows):
    ids = tokenizer.apply_chat_template(rows["messages"], return_dict=False)
    return {"input_ids": [row[: args.max_length] for row in ids]}


def tokenize_and_mark(rows):
    encoded = tokenizer.apply_chat_template(rows["messages"], return_dict=True, return_assistant_tokens_mask=True)
    return {key: [row[: args.max_length] for row in encoded[key]] for key in ("input_ids", "assistant_masks")}


def cpu_seconds():
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


processes = args.processes if args.processes > 1 else None
started, cpu_started = time.perf_counter(), cpu_seconds()
with tempfile.TemporaryDirectory() as cache:
    data = load_dataset("json", data_files=args.data, split="train", cache_dir=cache)
    if args.work == "same":
        import cleaning

        data = (
            data.map(cleaning.clean, num_proc=processes)
            .filter(cleaning.is_good, num_proc=processes)
            .map(cleaning.signature, num_proc=processes)
            .filter(cleaning.First())
        )
        data = data.map(
            tokenize_and_mark, batched=True, remove_columns=["messages", "signature"], num_proc=processes
        )
    else:
        # What was seen before is known to one process only.
        data = (
            data.map(clean, num_proc=processes)
            .filter(first)
            .map(tokenize, batched=True, remove_columns=["messages"], num_proc=processes)
        )
    kept = len(data)
    tokens = sum(sum(map(len, batch["input_ids"])) for batch in data.iter(10_000))
    packed = pack_dataset(data, args.max_length, "bfd")
    rows = sum(1 for _ in packed)
seconds = time.perf_counter() - started
cpu = cpu_seconds() - cpu_started

with open(args.texts, encoding="utf-8") as file:
    texts = json.load(file)
warm_up = min(2000, len(texts) // 10)


def tokenize_alone(name):
    """Tokens per second of CPU time of a method of the tokenizer. encode_batch_fast gives no positions in the text."""
    encode = getattr(AutoTokenizer.from_pretrained(args.model).backend_tokenizer, name)
    encode(texts[:warm_up], add_special_tokens=False)
    begun = time.process_time()
    count = sum(len(encoding.ids) for encoding in encode(texts[warm_up:], add_special_tokens=False))
    return count / (time.process_time() - begun)


tokenizing = max(tokenize_alone(name) for name in ("encode_batch", "encode_batch_fast"))
print(
    json.dumps(
        {
            "kept": kept,
            "tokens": tokens,
            "packedRows": rows,
            "seconds": seconds,
            "cpuSeconds": cpu,
            "tokensPerSecond": tokens / seconds,
            "tokenizingTokensPerSecond": tokenizing,
            "peakMemoryBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )
)
