"""The same work with Hugging Face tokenizers and datasets: read, clean, deduplicate, render, tokenise and pack, one process; and tokenising alone."""
import argparse
import json
import os
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
args = parser.parse_args()

from datasets import disable_progress_bars, load_dataset
from transformers import AutoTokenizer
from trl import pack_dataset

disable_progress_bars()
tokenizer = AutoTokenizer.from_pretrained(args.model)
with open(args.texts, encoding="utf-8") as file:
    texts = json.load(file)
begun = time.perf_counter()
alone = sum(len(encoding.ids) for encoding in tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False))
alone_seconds = time.perf_counter() - begun


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


def tokenize(row):
    return {"input_ids": tokenizer.apply_chat_template(row["messages"], return_dict=False)[: args.max_length]}


started = time.perf_counter()
with tempfile.TemporaryDirectory() as cache:
    data = load_dataset("json", data_files=args.data, split="train", cache_dir=cache)
    data = data.map(clean).filter(first).map(tokenize, remove_columns=["messages"])
    kept, tokens = len(data), sum(len(ids) for ids in data["input_ids"])
    packed = pack_dataset(data, args.max_length, "bfd")
    rows = sum(1 for _ in packed)
seconds = time.perf_counter() - started
print(json.dumps({
    "kept": kept, "tokens": tokens, "packedRows": rows, "seconds": seconds, "tokensPerSecond": tokens / seconds,
    "tokenizingTokensPerSecond": alone / alone_seconds, "peakMemoryBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
}))
