"""Answers questions about adapters with PEFT itself. Reads one JSON object from the standard input, writes one to the standard output."""
import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM


def logits(model, request):
    model.eval()
    with torch.no_grad():
        out = model(input_ids=torch.tensor(request["ids"]), attention_mask=torch.tensor(request["mask"])).logits
    return out[:, -len(request["ids"][0]):].flatten().tolist()


def load(request):
    base = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32, attn_implementation="eager")
    return logits(PeftModel.from_pretrained(base, request["adapter"]), request)


def make(request):
    torch.manual_seed(request["seed"])
    base = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(base, LoraConfig(**request["config"]))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(request["adapter"])
    return logits(model, request)


if __name__ == "__main__":
    requests = json.load(sys.stdin)
    print(json.dumps([{"load": load, "make": make}[request["do"]](request) for request in requests]))
