"""One strategy of PEFT, trained by TRL on a CPU; prints one JSON line, as `bench -- strategies` reports its own.

    python peer_strategies.py --method lora --model DIR --train train.jsonl --eval eval.jsonl [--steps 12] [--batch 4] [--max-length 128] [--lr 1e-3]

Methods: full, lora, dora, qlora (bitsandbytes: NF4 with compressed scales, computed in float32), prefix (PREFIX_TUNING with 20 virtual tokens).
Conversations are taken in the order of the file. Data: one {"conversation": [{"role", "content"}, ...]} per line. Loss on assistant turns only, its mean per supervised token before and after.
"""

import argparse, json, resource, tempfile, time
from pathlib import Path
import torch
from datasets import Dataset
from peft import LoraConfig, PrefixTuningConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
from trl import SFTConfig, SFTTrainer

p = argparse.ArgumentParser()
p.add_argument("--method", required=True, choices=["full", "lora", "dora", "qlora", "prefix"])
p.add_argument("--model", required=True)
p.add_argument("--train", required=True)
p.add_argument("--eval", required=True)
p.add_argument("--steps", type=int, default=12)
p.add_argument("--batch", type=int, default=4)
p.add_argument("--max-length", type=int, default=128)
p.add_argument("--lr", type=float, default=1e-3)
p.add_argument("--threads", type=int, default=2)
a = p.parse_args()
torch.set_num_threads(a.threads)

tokenizer = AutoTokenizer.from_pretrained(a.model)
tokenizer.chat_template = (Path(__file__).parent / "chatml.jinja").read_text()
quantization = BitsAndBytesConfig(
    load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=torch.float32
)
model = AutoModelForCausalLM.from_pretrained(
    a.model,
    dtype=torch.float32,
    **({"quantization_config": quantization, "device_map": "cpu"} if a.method == "qlora" else {}),
)
# At its first pass in evaluation bitsandbytes repacks the weights for products in bfloat16, and trains on with those: they have no gradient.
for module in model.modules():
    if hasattr(module, "support_avx512bf16_for_cpu"):
        module.support_avx512bf16_for_cpu = False
rows = lambda f: Dataset.from_list([{"messages": json.loads(l)["conversation"]} for l in open(f, encoding="utf8")])

config = SFTConfig(
    output_dir=tempfile.mkdtemp(),
    max_steps=a.steps,
    per_device_train_batch_size=a.batch,
    per_device_eval_batch_size=16,
    max_length=a.max_length,
    assistant_only_loss=True,
    learning_rate=a.lr,
    lr_scheduler_type="cosine",
    warmup_steps=2,
    weight_decay=0.0,
    max_grad_norm=1.0,
    bf16=False,
    fp16=False,
    use_cpu=True,
    gradient_checkpointing=False,
    logging_steps=1000,
    save_strategy="no",
    report_to="none",
    seed=0,
    train_sampling_strategy="sequential",
)
peft = {
    "lora": LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    "dora": LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", use_dora=True, task_type="CAUSAL_LM"),
    "qlora": LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    "prefix": PrefixTuningConfig(num_virtual_tokens=20, task_type="CAUSAL_LM"),
    "full": None,
}[a.method]


class Counting(SFTTrainer):
    tokens = done = 0

    def training_step(self, model, inputs, *rest):
        if self.done == a.steps // 2:
            self.middle = (self.tokens, time.time())
        self.done += 1
        self.tokens += int(inputs["attention_mask"].sum())
        return super().training_step(model, inputs, *rest)


trainer = Counting(
    model=model,
    args=config,
    train_dataset=rows(a.train),
    eval_dataset=rows(a.eval),
    processing_class=tokenizer,
    peft_config=peft,
)


@torch.no_grad()
def eval_loss():
    trainer.model.eval()
    total = count = 0.0
    for batch in trainer.get_eval_dataloader():
        labels = batch.pop("labels")[:, 1:]
        logits = trainer.model(**{k: v for k, v in batch.items() if k in ("input_ids", "attention_mask")}).logits[
            :, :-1
        ]
        keep = labels != -100
        total += torch.nn.functional.cross_entropy(logits[keep].float(), labels[keep], reduction="sum").item()
        count += keep.sum().item()
    trainer.model.train()
    return total / count


before = eval_loss()
t = time.time()
trainer.train()
end = time.time()
seconds = end - t
after = eval_loss()
folder = tempfile.mkdtemp()
trainer.model.save_pretrained(folder)
print(
    json.dumps(
        dict(
            peer="TRL + PEFT" if peft is not None else "TRL",
            trainable_parameters=sum(q.numel() for q in trainer.model.parameters() if q.requires_grad),
            tokens_per_second=trainer.tokens / seconds,
            later_tokens_per_second=(trainer.tokens - trainer.middle[0]) / (end - trainer.middle[1]),
            seconds=seconds,
            eval_loss_before=before,
            eval_loss_after=after,
            saved_bytes=sum(f.stat().st_size for f in Path(folder).glob("*.safetensors")),
            peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )
    )
)
