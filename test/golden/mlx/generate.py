"""Adapters that mlx-lm trains and writes by its own code, on a CPU, and its logits under them.

    pip install "mlx[cpu]" mlx-lm
    python generate.py [--seed 0] [--model ../models/llama] [--out .]

LoRA on all linear layers, LoRA on some of the last layer, and DoRA, each a few steps of `mlx_lm.lora.train_model` on random rows. Beside each adapter folder
stand the logits of fixed rows, and how far they are from those in float64. Training differs from run to run in its last bits.
"""
import argparse, json, types
from importlib.metadata import version
from pathlib import Path
import mlx.core as mx
import numpy as np
from mlx_lm.lora import CONFIG_DEFAULTS, train_model
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_model

here = Path(__file__).parent
p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--seed", type=int, default=0); p.add_argument("--model", type=Path, default=here.parent / "models" / "llama"); p.add_argument("--out", type=Path, default=here)
a = p.parse_args()
mx.set_default_device(mx.cpu)
vocabulary = json.loads((a.model / "config.json").read_text())["vocab_size"]
random = np.random.default_rng(a.seed)
rows = [random.integers(3, vocabulary, 12).tolist() for _ in range(8)]


class Rows:
    """What mlx-lm's trainer takes for a data set: tokens, and where the part that counts begins."""
    def __len__(self): return len(rows)
    def __getitem__(self, index): return rows[index]
    def process(self, row): return row, 0


def logits(model, ids, dtype=mx.float32):
    model.eval()
    out = model(mx.array(ids)).astype(dtype)
    mx.eval(out)
    return out


ids = [random.integers(3, vocabulary, 9).tolist() for _ in range(2)]
base = logits(load_model(a.model)[0], ids)
runs = {
    "lora": {"fine_tune_type": "lora", "num_layers": -1, "lora_parameters": {"rank": 3, "scale": 2.0, "dropout": 0.0}},
    "lora-keys": {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": {"rank": 2, "scale": 10.0, "dropout": 0.1, "keys": ["self_attn.q_proj", "mlp.down_proj"]}},
    "dora": {"fine_tune_type": "dora", "num_layers": -1, "lora_parameters": {"rank": 2, "scale": 4.0, "dropout": 0.0}},
}
out, drift = {"base": base}, {}
for name, changes in runs.items():
    folder = a.out / name
    settings = {**CONFIG_DEFAULTS, **changes, "model": "base", "data": "random rows", "adapter_path": str(folder), "iters": 12, "learning_rate": 2e-2, "seed": a.seed, "batch_size": 4, "val_batches": 1, "steps_per_eval": 100, "save_every": 100}
    train_model(types.SimpleNamespace(**settings), load_model(a.model)[0], Rows(), Rows())
    config = json.loads((folder / "adapter_config.json").read_text())
    config["adapter_path"] = name
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1) + "\n")
    for extra in folder.glob("0*_adapters.safetensors"): extra.unlink()
    adapted = load_adapters(load_model(a.model)[0], str(folder))
    out[name] = logits(adapted, ids)
    # What float32 itself costs here: an adapter that was trained at a high rate makes much of rounding.
    adapted.set_dtype(mx.float64)
    drift[name] = float(np.abs(np.array(out[name]) - np.array(logits(adapted, ids, mx.float64))).max())
mx.save_safetensors(str(a.out / "logits.safetensors"), out)
(a.out / "golden.json").write_text(json.dumps({
    "versions": {"mlx": version("mlx"), "mlx-lm": version("mlx-lm")}, "base_model": "models/llama", "input_ids": ids,
    "what": "logits.safetensors: base, and the logits under each adapter folder, [2, 9, vocabulary], float32 on a CPU",
    "drift_float32_vs_float64": drift, "tolerance": {"logits_abs": 1e-4}}, indent=1) + "\n")
