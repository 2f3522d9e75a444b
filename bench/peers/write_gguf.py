"""Write the weights of a Llama in a Hugging Face folder as a GGUF file of type F16.

    python write_gguf.py --model DIR --like FILE.gguf --out F16.gguf

--like: a GGUF file of the same model; its metadata, tokenizer included, is copied. One-dimensional tensors stay float32.
"""

import argparse
import json
from pathlib import Path

import gguf
import torch
from safetensors.torch import load_file

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--like", required=True)
parser.add_argument("--out", required=True)
args = parser.parse_args()

config = json.loads((Path(args.model) / "config.json").read_text(encoding="utf-8"))
reader = gguf.GGUFReader(args.like)
writer = gguf.GGUFWriter(args.out, reader.fields["general.architecture"].contents())
for field in reader.fields.values():
    if field.name.startswith("GGUF.") or field.name in ("general.architecture", "general.file_type"):
        continue
    kind = field.types[0]
    element = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
    writer.add_key_value(field.name, field.contents(), kind, element)
writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)


def permuted(weight, heads):
    """The order of rows that llama.cpp's rotary embedding expects: halves of a head become neighbours."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
written = set()
for file in sorted(Path(args.model).glob("*.safetensors")):
    for name, tensor in load_file(file).items():
        weight = tensor.to(torch.float32)
        if name.endswith("q_proj.weight"):
            weight = permuted(weight, config["num_attention_heads"])
        if name.endswith("k_proj.weight"):
            weight = permuted(weight, config["num_key_value_heads"])
        target = names.get_name(name, try_suffixes=(".weight",))
        writer.add_tensor(target, (weight if weight.dim() == 1 else weight.to(torch.float16)).contiguous().numpy())
        written.add(target)
expected = {tensor.name for tensor in reader.tensors}
if written != expected:
    raise SystemExit(f"The files hold different tensors: {sorted(written ^ expected)[:10]}")
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
print(json.dumps({"file": args.out, "tensors": len(written)}))
