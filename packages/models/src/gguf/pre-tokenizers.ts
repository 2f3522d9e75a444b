/**
 * The rules of a byte-level tokenizer, in the notation of tokenizer.json. GGUF stores only the name of the rules
 * (`tokenizer.ggml.pre`).
 */
export interface ByteLevelRules {
  readonly normalizer: object | null;
  readonly preTokenizer: object;
  readonly ignoreMerges: boolean;
  /** Whether these tokenizers start every text with the beginning token, unless the file specifies it. */
  readonly addsBos: boolean;
}

const split = (regex: string): object => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior: 'Isolated',
  invert: false,
});
const bytes = (useRegex: boolean): object => ({
  type: 'ByteLevel',
  add_prefix_space: false,
  trim_offsets: true,
  use_regex: useRegex,
});
const sequence = (...pretokenizers: object[]): object => ({ type: 'Sequence', pretokenizers });

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const beforeWord = '[^\\r\\n\\p{L}\\p{N}]?';
const blanks = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const words = (digits: string): string =>
  [contractions, `${beforeWord}\\p{L}+`, digits, ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*', blanks].join('|');
const casedWords = (endings: string, digits: string): string => {
  const upper = '\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}';
  const lower = '\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}';
  return [
    `${beforeWord}[${upper}]*[${lower}]+${endings}`,
    `${beforeWord}[${upper}]+[${lower}]*${endings}`,
    digits,
    ' ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*',
    blanks,
  ].join('|');
};

const plain: ByteLevelRules = { normalizer: null, preTokenizer: bytes(true), ignoreMerges: false, addsBos: false };
const singleDigits: ByteLevelRules = {
  ...plain,
  preTokenizer: sequence({ type: 'Digits', individual_digits: true }, bytes(true)),
};
const llama3: ByteLevelRules = {
  ...plain,
  preTokenizer: sequence(split(words('\\p{N}{1,3}')), bytes(false)),
  ignoreMerges: true,
  addsBos: true,
};
const qwen2: ByteLevelRules = {
  ...plain,
  normalizer: { type: 'NFC' },
  preTokenizer: sequence(split(words('\\p{N}')), bytes(false)),
};
const tekken: ByteLevelRules = {
  ...plain,
  preTokenizer: sequence(split(casedWords('', '\\p{N}')), bytes(false)),
  ignoreMerges: true,
  addsBos: true,
};
const gpt4o: ByteLevelRules = {
  ...plain,
  preTokenizer: sequence(split(casedWords(`${contractions}?`, '\\p{N}{1,3}')), bytes(false)),
};

/** Rules by their name in GGUF. */
export const byteLevelRules: Readonly<Record<string, ByteLevelRules>> = {
  'gpt-2': plain,
  gpt2: plain,
  'phi-2': plain,
  olmo: plain,
  mpt: plain,
  trillion: plain,
  smollm: singleDigits,
  starcoder: singleDigits,
  refact: singleDigits,
  codeshell: singleDigits,
  exaone: singleDigits,
  'llama-bpe': llama3,
  llama3,
  'llama-v3': llama3,
  dbrx: { ...llama3, ignoreMerges: false, addsBos: false },
  smaug: { ...llama3, addsBos: false },
  qwen2,
  'deepseek-r1-qwen': qwen2,
  megrez: qwen2,
  tekken,
  'gpt-4o': gpt4o,
};
