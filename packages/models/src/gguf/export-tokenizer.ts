import { WhetstoneError } from '@whetstone/core/contract';
import type { TokenizerFiles } from '../tokenizer/tokenizer-files.js';
import { byteLevelRules } from './pre-tokenizers.js';
import type { TypedValue } from './write-gguf.js';

/** Values of `tokenizer.ggml.token_type`. */
const types = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

interface BytePairModel {
  readonly vocab: Readonly<Record<string, number>>;
  readonly merges: readonly (string | readonly [string, string])[];
  readonly byte_fallback?: boolean;
  readonly unk_token?: string | null;
  readonly ignore_merges?: boolean;
}

/** The special tokens of a model that GGUF names. */
export interface StopIds {
  /** Ends the assistant's turn, if this is another token than the tokenizer's end. */
  readonly turnEnd: number | null;
}

/**
 * Returns the metadata of GGUF for a tokenizer: the inverse of `createTokenizerFiles`.
 *
 * @param size the number of rows of the embedding; further ids are unused tokens
 * @throws `GGUF_UNSUPPORTED` if llama.cpp has no such tokenizer
 */
export function tokenizerMetadata(
  files: TokenizerFiles,
  size: number,
  { turnEnd }: StopIds,
): ReadonlyMap<string, TypedValue> {
  const { tokenizer } = files;
  if (tokenizer.model.type !== 'BPE') throw unsupported(files, 'model.type', 'BPE', tokenizer.model.type);
  const model = tokenizer.model as unknown as BytePairModel;
  const vocabulary = readVocabulary(files, model, size);
  const metadata = new Map<string, TypedValue>([
    ...(model.byte_fallback === true ? sentencePiece(files, model, vocabulary) : byteLevel(files, model)),
    ['tokenizer.ggml.tokens', { type: 'strings', value: vocabulary.tokens }],
    ['tokenizer.ggml.token_type', { type: 'int32s', value: vocabulary.kinds }],
  ]);
  const idOf = (text: string | undefined): number => (text === undefined ? -1 : vocabulary.tokens.indexOf(text));
  const named = {
    bos: idOf(files.specialTokens['bos_token']),
    eos: idOf(files.specialTokens['eos_token']),
    eot: turnEnd ?? -1,
    unknown: idOf(files.specialTokens['unk_token']),
    padding: idOf(files.specialTokens['pad_token']),
  };
  for (const [name, id] of Object.entries(named))
    if (id >= 0) metadata.set(`tokenizer.ggml.${name}_token_id`, { type: 'uint32', value: id });
  const added = addedTokensOf(files);
  metadata.set('tokenizer.ggml.add_bos_token', { type: 'bool', value: named.bos >= 0 && added.has('bos_token') });
  metadata.set('tokenizer.ggml.add_eos_token', { type: 'bool', value: named.eos >= 0 && added.has('eos_token') });
  return metadata;
}

interface Vocabulary {
  readonly tokens: readonly string[];
  readonly kinds: readonly number[];
}

function readVocabulary(files: TokenizerFiles, model: BytePairModel, size: number): Vocabulary {
  const { added_tokens: added } = files.tokenizer;
  const entries = Object.entries(model.vocab);
  const length = Math.max(size, ...added.map(({ id }) => id + 1));
  const tokens = Array.from({ length }, (_, id) => `[PAD${id}]`);
  const kinds = tokens.map((): number => types.unused);
  for (const [token, id] of entries) {
    tokens[id] = token;
    const isByte = model.byte_fallback === true && /^<0x[0-9A-F]{2}>$/.test(token);
    kinds[id] = isByte ? types.byte : token === model.unk_token ? types.unknown : types.normal;
  }
  for (const { id, content, special } of added) {
    tokens[id] = content;
    if (content !== model.unk_token) kinds[id] = special === true ? types.control : types.userDefined;
  }
  if (length > size)
    throw unsupported(files, 'added_tokens', `ids below ${size}, the rows of the embedding`, `an id of ${length - 1}`);
  return { tokens, kinds };
}

/** Returns which special tokens the tokenizer adds to a text: their names. */
function addedTokensOf({ tokenizer, specialTokens }: TokenizerFiles): ReadonlySet<string> {
  const processor = JSON.stringify(tokenizer.post_processor ?? null);
  const adds = (name: string): boolean => {
    const text = specialTokens[name];
    return text !== undefined && processor.includes(`"SpecialToken":{"id":${JSON.stringify(text)}`);
  };
  return new Set(['bos_token', 'eos_token'].filter(adds));
}

const mergeText = (merge: string | readonly [string, string]): string =>
  typeof merge === 'string' ? merge : `${merge[0]} ${merge[1]}`;

function byteLevel(files: TokenizerFiles, model: BytePairModel): [string, TypedValue][] {
  const { normalizer, pre_tokenizer: preTokenizer } = files.tokenizer;
  const written = JSON.stringify(sorted({ normalizer, preTokenizer }));
  const known = Object.entries(byteLevelRules).filter(
    ([, rules]) =>
      JSON.stringify(sorted({ normalizer: rules.normalizer, preTokenizer: rules.preTokenizer })) === written &&
      rules.ignoreMerges === (model.ignore_merges ?? false),
  );
  const [name] = known[0] ?? [];
  if (name === undefined)
    throw unsupported(files, 'pre_tokenizer', 'the rules of a tokenizer that llama.cpp knows by name', 'other rules');
  return [
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: name }],
    ['tokenizer.ggml.merges', { type: 'strings', value: model.merges.map(mergeText) }],
  ];
}

/** Returns a value with the keys of all objects in order, to compare two of them. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([one], [other]) => (one < other ? -1 : 1))
      .map(([key, each]) => [key, sorted(each)]),
  );
}

/** SentencePiece's scores decide the order of merges: an earlier merge has a higher score. */
function sentencePiece(files: TokenizerFiles, model: BytePairModel, { tokens }: Vocabulary): [string, TypedValue][] {
  const rankOf = new Map<string, number>();
  for (const [rank, merge] of model.merges.entries()) {
    const token = mergeText(merge).replace(' ', '');
    if (!rankOf.has(token)) rankOf.set(token, rank);
  }
  const last = model.merges.length;
  const normalizer = JSON.stringify(files.tokenizer.normalizer ?? null);
  return [
    ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
    ['tokenizer.ggml.scores', { type: 'float32s', value: tokens.map((token) => -(rankOf.get(token) ?? last)) }],
    ['tokenizer.ggml.add_space_prefix', { type: 'bool', value: normalizer.includes('"Prepend"') }],
  ];
}

function unsupported({ folder }: TokenizerFiles, path: string, expected: string, found: string): WhetstoneError {
  return new WhetstoneError('GGUF_UNSUPPORTED', 'GGUF cannot describe the tokenizer.', {
    place: { file: `${folder}/tokenizer.json`, path },
    expected,
    found,
  });
}
