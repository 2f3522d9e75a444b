"""Writes jinja-snippets.json: templates with the results of Jinja2 in the environment of transformers.

    pip install transformers==5.23.0 jinja2==3.1.6
    python make_jinja_snippets.py [FILE]

Without FILE, the templates are those of jinja-snippets.txt, one a line, or one an expression if a line has several; `\\n`, `\\r` and `\\t` stand for the characters,
`\\\\` for a backslash.
"""

import json
import re
import sys
from pathlib import Path

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = Path(__file__).parent
CONTEXT = {
    "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "World"}],
    "users": [
        {"name": "Ann", "age": 30, "city": "Oslo", "tags": ["x", "y"]},
        {"name": "bob", "age": 25, "city": "Bergen", "tags": []},
        {"name": "Cid", "age": 30, "city": "oslo", "tags": ["z"]},
    ],
    "nums": [3, 1, 2],
    "floats": [1.5, 2.25, -0.5],
    "mixed": [1, "a", None, True, 2.5],
    "s": "Hello World",
    "lines": "one\ntwo\n\nthree",
    "html": "<b>\"x\" & 'y'</b>",
    "nothing": None,
    "yes": True,
    "d": {"b": 1, "a": 2, "C": 3},
    "deep": {"x": {"y": [{"z": 5}]}, "items": "shadow", "1": "one"},
    "empty": [],
    "unicode": "naïve 日本 😀",
    "big": 12345678901234567890,
    "pi": 3.14159,
}
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}


def templates_of(file):
    for line in file.read_text().split("\n"):
        if line and not line.startswith("## "):
            parts = [] if "{%" in line or "{#" in line else re.findall(r"\{\{.*?\}\}", line)
            for part in parts if len(parts) > 1 else [line]:
                yield re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[0]), part)


def render(template):
    try:
        text = _compile_jinja_template(template).render(**json.loads(json.dumps(CONTEXT)))
    except Exception as error:  # noqa: BLE001: every error is a result
        return {"template": template, "error": f"{type(error).__name__}: {error}"}
    if re.search(r"0x[0-9a-f]{8,}", text):
        return {"template": template, "unstable": True}
    return {"template": template, "text": text}


def main():
    given = sys.argv[1:]
    file = Path(given[0]) if given else HERE / "jinja-snippets.txt"
    fixture = {
        "provenance": f"transformers {transformers.__version__}, Jinja2 {jinja2.__version__}; `unstable`: prints an address",
        "context": CONTEXT,
        "cases": [render(template) for template in dict.fromkeys(templates_of(file))],
    }
    output = Path(given[1]) if len(given) > 1 else HERE / "jinja-snippets.json"
    output.write_text(json.dumps(fixture, indent=1, ensure_ascii=False) + "\n")


main()
