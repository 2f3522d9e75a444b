"""What of our cleaning the peer's scripts do, with what a Python user would take: quality rules, redaction with Google's phonenumbers, near duplicates by MinHash in numpy."""

import re
import unicodedata

import numpy as np
import phonenumbers

REPEATED = re.compile(r"([!?,;])\1+")
SPACES = re.compile(r"[ \t]+")


def normalized(text):
    text = unicodedata.normalize("NFC", text).replace("\u200b", "").replace("\ufeff", "")
    text = text.replace("\u2018", "'").replace("\u2019", "'").replace("\u201c", '"').replace("\u201d", '"')
    return SPACES.sub(" ", REPEATED.sub(r"\1", text)).strip()


def repetition(text, size=10):
    seen, repeated = set(), 0
    for start in range(len(text) - size + 1):
        stretch = text[start : start + size]
        repeated += stretch in seen
        seen.add(stretch)
    return repeated / max(1, len(text))


CUT = re.compile(r"[,(]$|\s(?:and|or|but|the|a|an|of|to|in|with|because)$")
BOILERPLATE = ("as an ai language model", "as a large language model", "my knowledge cutoff", "regenerate response")


def is_good(row):
    messages = row["messages"]
    turns = [message["role"] for message in messages if message["role"] != "system"]
    if (
        not all(message["content"].strip() for message in messages)
        or not 2 <= sum(len(message["content"]) for message in messages) <= 200_000
    ):
        return False
    if (
        not turns
        or turns[0] == "assistant"
        or turns[-1] != "assistant"
        or any(one == other for one, other in zip(turns, turns[1:]))
    ):
        return False
    for message in messages:
        if message["role"] != "assistant":
            continue
        text = message["content"]
        if CUT.search(text.strip()) or any(phrase in text.lower() for phrase in BOILERPLATE) or repetition(text) > 0.6:
            return False
        if len(text) >= 10 and sum(
            not (character.isalnum() or character.isspace() or unicodedata.category(character).startswith("P"))
            for character in text
        ) > 0.4 * len(text):
            return False
    return True


PATTERNS = [
    ("EMAIL", re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}(?![\w-])", re.I)),
    ("CARD", re.compile(r"(?<![\d.-])(?:\d[ -]?){12,18}\d(?![\d-])")),
    ("IBAN", re.compile(r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?![A-Za-z0-9])")),
    ("ID", re.compile(r"(?<![\d-])(?:\d{3}-\d{2}-\d{4}|[1-9]\d{16}[\dXx])(?![\d-])")),
    ("IP", re.compile(r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")),
    (
        "ADDRESS",
        re.compile(
            r"\d{1,5}(?:\s+[A-Z][\w'.-]*){1,4}?\s+(?:Street|St|Avenue|Ave|Road|Rd|Lane|Drive|Court|Square|Way)\b"
        ),
    ),
    ("NAME", re.compile(r"(?:[Mm]y name is|[Cc]ontact|\bMrs?\.?|\bMs\.?|\bDr\.?)\s+[A-Z][a-z]+(?:\s+[A-Z][a-z]+)?")),
]
DIGITS = re.compile(r"\d(?:\D{0,4}\d){6}")


def redacted(text):
    for label, pattern in PATTERNS:
        text = pattern.sub(f"[{label}_1]", text)
    if DIGITS.search(text):
        for country in ("CN", "US", "GB"):
            for match in reversed(list(phonenumbers.PhoneNumberMatcher(text, country))):
                text = f"{text[: match.start]}[PHONE_1]{text[match.end :]}"
    return text


def clean(row):
    for message in row["messages"]:
        message["content"] = redacted(normalized(message["content"]))
    return row


drawn = np.random.default_rng(0)
# Multiplied and added modulo 2^64, of which the upper half is taken.
FACTORS, OFFSETS = (drawn.integers(1, 1 << 63, 64, dtype=np.uint64)[:, None] | np.uint64(1) for _ in range(2))
BANDS = 16


def signature(row):
    text = "\n".join(re.sub(r"[\W_]+", " ", message["content"].lower()).strip() for message in row["messages"])
    shingles = np.fromiter(
        {hash(text[start : start + 4]) & 0x7FFFFFFF for start in range(max(1, len(text) - 3))}, dtype=np.uint64
    )
    return {
        "signature": ((shingles[None, :] * FACTORS + OFFSETS) >> np.uint64(32)).min(axis=1).astype(np.int64).tolist()
    }


class First:
    """Keeps the first of conversations that are much alike: estimated from their signatures, by bands."""

    def __init__(self):
        self.bands = [{} for _ in range(BANDS)]

    def __call__(self, row):
        values = np.array(row["signature"])
        keys = [part.tobytes() for part in values.reshape(BANDS, -1)]
        for band, key in zip(self.bands, keys):
            for other in band.get(key, [])[-200:]:
                if np.mean(other == values) >= 0.7:
                    return False
        for band, key in zip(self.bands, keys):
            band.setdefault(key, []).append(values)
        return True
