"""Answers questions about adapters with PEFT itself. Reads one JSON object from the standard input, writes one to the standard output."""
import json
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig


def logits(model, request):
    model.eval()
    with torch.no_grad():
        out = model(input_ids=torch.tensor(request["ids"]), attention_mask=torch.tensor(request["mask"])).logits
    return out[:, -len(request["ids"][0]):].flatten().tolist()


def load(request):
    quantization = request.get("quantization")
    more = {} if quantization is None else {"quantization_config": BitsAndBytesConfig.from_dict(quantization), "device_map": "cpu"}
    base = AutoModelForCausalLM.from_pretrained(request["model"], dtype=torch.float32, attn_implementation="eager", **more)
    model = PeftModel.from_pretrained(base, request["adapter"])
    return logits(model, request) if quantization is None else training_logits(model, request)


def training_logits(model, request):
    """As in training: without it bitsandbytes multiplies in bfloat16 on processors that can. There is no dropout."""
    model.train()
    out = model(input_ids=torch.tensor(request["ids"]), attention_mask=torch.tensor(request["mask"])).logits
    return out.detach().flatten().tolist()


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
