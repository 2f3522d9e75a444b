"""QLoRA fixtures from PyTorch, transformers, PEFT and bitsandbytes on a CPU.

    python generate.py [--seed 0] [--out .]

A tiny Llama whose rows are whole blocks of 64 numbers; its linear layers in NF4 with compressed scales, and in FP4 with single ones; a LoRA on all of
them, trained on listed batches. The 8-bit storage of bitsandbytes for one matrix. The same seed gives the same files.
"""
import argparse, json
from pathlib import Path
import bitsandbytes, peft, torch, transformers
from bitsandbytes.functional import int8_vectorwise_dequant, int8_vectorwise_quant
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--seed", type=int, default=0); p.add_argument("--out", type=Path, default=Path(__file__).parent)
a = p.parse_args()
torch.manual_seed(a.seed); torch.set_num_threads(1); torch.use_deterministic_algorithms(True, warn_only=True)
a.out.mkdir(parents=True, exist_ok=True)
STEPS, LR, VOCAB = 16, 5e-3, 96

config = LlamaConfig(vocab_size=VOCAB, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                     max_position_embeddings=64, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False, initializer_range=0.1)
model = LlamaForCausalLM(config).to(torch.bfloat16)
model.save_pretrained(a.out / "model")
for extra in (a.out / "model").iterdir():
    if extra.name not in ("config.json", "model.safetensors"): extra.unlink()

batches = []
for _ in range(4):
    ids = torch.randint(3, VOCAB, (3, 12))
    labels = ids.clone(); labels[:, :3] = -100
    batches.append((ids, labels))

def run(name, quant_type, double):
    quantization = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=quant_type, bnb_4bit_use_double_quant=double, bnb_4bit_compute_dtype=torch.float32)
    base = AutoModelForCausalLM.from_pretrained(a.out / "model", quantization_config=quantization, device_map="cpu", dtype=torch.float32, attn_implementation="eager")
    base.train()  # outside of training bitsandbytes multiplies in bfloat16 where the processor can
    with torch.no_grad():
        logits = base(batches[0][0]).logits
    torch.manual_seed(a.seed + 1)
    tuned = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"))
    tuned.train()
    saved = lambda: {k: v.clone().contiguous() for k, v in peft.get_peft_model_state_dict(tuned).items()}
    initial = saved()
    optimizer = torch.optim.AdamW([w for w in tuned.parameters() if w.requires_grad], lr=LR, weight_decay=0.0)
    losses = []
    for step in range(STEPS):
        ids, labels = batches[step % len(batches)]
        loss = tuned(input_ids=ids, labels=labels).loss
        loss.backward(); optimizer.step(); optimizer.zero_grad(); losses.append(loss.item())
    with torch.no_grad():
        tuned_logits = tuned(batches[0][0]).logits
    folder = a.out / name; folder.mkdir(exist_ok=True)
    save_file(initial, folder / "init.safetensors"); save_file(saved(), folder / "final.safetensors")
    save_file({"base": logits.contiguous(), "tuned": tuned_logits.contiguous()}, folder / "logits.safetensors")
    return dict(quant_type=quant_type, double_quantization=double, losses=losses)

runs = {"nf4": run("nf4", "nf4", True), "fp4": run("fp4", "fp4", False)}
matrix = torch.randn(5, 64) * torch.tensor([[0.01], [1.0], [0.3], [3.0], [0.05]])
values, scales, _ = int8_vectorwise_quant(matrix.to(torch.float16).clone())
save_file(dict(input=matrix, values=values, scales=scales, dequantized=int8_vectorwise_dequant(values, scales).contiguous()), a.out / "int8.safetensors")
golden = dict(
    versions=dict(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__, bitsandbytes=bitsandbytes.__version__),
    model="qlora/model (weights in bfloat16, computed in float32)", lora="r 4, alpha 8, all linear layers, no dropout; <run>/init.safetensors",
    optimizer=f"AdamW, learning rate {LR}, no decay, no clipping; batch step mod {len(batches)}", learning_rate=LR, steps=STEPS,
    batches=[dict(input_ids=i.tolist(), labels=l.tolist()) for i, l in batches], runs=runs,
    int8="int8.safetensors: input, and values, scales (the largest of each row) of int8_vectorwise_quant(float16(input)), dequantized = values * scales / 127",
    tolerance=dict(logits_abs=2e-4, loss_abs=2e-4, final_weight_abs=2e-3, final_weight_mean_abs=5e-5, int8_rel=1e-6))
(a.out / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
print({k: (v["losses"][0], v["losses"][-1]) for k, v in runs.items()})
