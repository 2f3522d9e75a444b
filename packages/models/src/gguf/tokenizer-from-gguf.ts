import { WhetstoneError, type Json } from '@whetstone/core/contract';
import { invalidGguf } from './header.js';
import type { Metadata } from './metadata.js';
import { byteLevelRules } from './pre-tokenizers.js';
import { mergesFromScores } from './sentencepiece-merges.js';

/** Contents of the tokenizer files of a Hugging Face folder. The chat template is text, the others are JSON. */
export interface TokenizerOutput {
  readonly tokenizer: Json;
  readonly tokenizerConfig: Json;
  readonly specialTokensMap: Json;
  readonly generationConfig: Json;
  readonly chatTemplate: string | null;
  /** Further chat templates by name, such as `tool_use`. */
  readonly namedTemplates: ReadonlyMap<string, string>;
}

/** Values of `tokenizer.ggml.token_type`. */
const CONTROL = 3;
const UNKNOWN = 2;
const USER_DEFINED = 4;

interface Vocabulary {
  readonly tokens: readonly string[];
  readonly types: readonly number[];
}

/**
 * Creates the tokenizer files from GGUF metadata.
 *
 * @throws `GGUF_UNSUPPORTED` if the type of tokenizer or its pre-tokenizer is not supported
 * @throws `GGUF_INVALID` if metadata are missing or contradictory
 */
export function createTokenizerFiles(file: string, metadata: Metadata): TokenizerOutput {
  const kind = metadata.optionalText('tokenizer.ggml.model');
  const vocabulary = readVocabulary(file, metadata);
  if (kind === 'gpt2') return assemble(metadata, vocabulary, byteLevel(file, metadata, vocabulary));
  if (kind === 'llama') return assemble(metadata, vocabulary, sentencePiece(file, metadata, vocabulary));
  throw new WhetstoneError('GGUF_UNSUPPORTED', 'The type of tokenizer is not supported.', {
    place: { file, path: 'tokenizer.ggml.model' },
    expected: 'gpt2 (byte-level BPE) or llama (SentencePiece BPE)',
    found: kind ?? 'nothing',
  });
}

function readVocabulary(file: string, metadata: Metadata): Vocabulary {
  const tokens = metadata.texts('tokenizer.ggml.tokens');
  const types = metadata.has('tokenizer.ggml.token_type')
    ? metadata.numbers('tokenizer.ggml.token_type')
    : tokens.map(() => 1);
  if (types.length !== tokens.length)
    throw invalidGguf(file, 'The numbers of tokens and of token types differ.', undefined, {
      expected: String(tokens.length),
      found: String(types.length),
    });
  if (new Set(tokens).size !== tokens.length) throw invalidGguf(file, 'A token occurs twice in the vocabulary.');
  for (const name of ['bos', 'eos', 'unknown', 'padding']) {
    const id = metadata.optionalNumber(`tokenizer.ggml.${name}_token_id`);
    if (id !== undefined && tokens[id] === undefined)
      throw invalidGguf(file, `tokenizer.ggml.${name}_token_id is outside the vocabulary.`, undefined, {
        expected: `0 to ${tokens.length - 1}`,
        found: String(id),
      });
  }
  return { tokens, types };
}

interface TokenizerComponents {
  readonly normalizer: object | null;
  readonly preTokenizer: object | null;
  readonly decoder: object;
  readonly model: Readonly<Record<string, Json>>;
  readonly addsBos: boolean;
}

function byteLevel(file: string, metadata: Metadata, { tokens }: Vocabulary): TokenizerComponents {
  const name = metadata.optionalText('tokenizer.ggml.pre') ?? 'gpt-2';
  const rules = Object.hasOwn(byteLevelRules, name) ? byteLevelRules[name] : undefined;
  if (rules === undefined) {
    throw new WhetstoneError('GGUF_UNSUPPORTED', 'The pre-tokenizer is not supported.', {
      place: { file, path: 'tokenizer.ggml.pre' },
      expected: `one of ${Object.keys(byteLevelRules).join(', ')}`,
      found: name,
    });
  }
  const merges = metadata.texts('tokenizer.ggml.merges').map((merge, index) => {
    const space = merge.indexOf(' ', 1);
    if (space < 1 || space === merge.length - 1)
      throw invalidGguf(file, `Merge ${index} does not consist of two tokens.`, undefined, {
        found: JSON.stringify(merge).slice(0, 60),
      });
    return [merge.slice(0, space), merge.slice(space + 1)];
  });
  return {
    normalizer: rules.normalizer,
    preTokenizer: rules.preTokenizer,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    addsBos: rules.addsBos,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: rules.ignoreMerges,
      vocab: ids(tokens),
      merges,
    },
  };
}

function sentencePiece(file: string, metadata: Metadata, { tokens, types }: Vocabulary): TokenizerComponents {
  const scores = metadata.numbers('tokenizer.ggml.scores');
  if (scores.length !== tokens.length)
    throw invalidGguf(file, 'The numbers of tokens and of scores differ.', undefined, {
      expected: String(tokens.length),
      found: String(scores.length),
    });
  const prefix = metadata.optionalFlag('tokenizer.ggml.add_space_prefix') ?? true;
  const replace = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
  const strip = prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : [];
  const unknown = tokens[metadata.optionalNumber('tokenizer.ggml.unknown_token_id') ?? types.indexOf(UNKNOWN)] ?? null;
  return {
    normalizer: prefix ? { type: 'Sequence', normalizers: [{ type: 'Prepend', prepend: '▁' }, replace] } : replace,
    preTokenizer: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...strip,
      ],
    },
    addsBos: true,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: unknown,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: ids(tokens),
      merges: mergesFromScores(tokens, scores, types),
    },
  };
}

const ids = (tokens: readonly string[]): Record<string, number> =>
  Object.fromEntries(tokens.map((token, id) => [token, id]));

function assemble(metadata: Metadata, { tokens, types }: Vocabulary, components: TokenizerComponents): TokenizerOutput {
  const idOf = (name: string): number | undefined => metadata.optionalNumber(`tokenizer.ggml.${name}_token_id`);
  const textOf = (name: string): string | undefined => tokens[idOf(name) ?? -1];
  const bos = textOf('bos');
  const eos = textOf('eos');
  const addBos = bos !== undefined && (metadata.optionalFlag('tokenizer.ggml.add_bos_token') ?? components.addsBos);
  const addEos = eos !== undefined && (metadata.optionalFlag('tokenizer.ggml.add_eos_token') ?? false);
  const named = { bos_token: bos, eos_token: eos, unk_token: textOf('unknown'), pad_token: textOf('padding') };
  const specialTokens = Object.fromEntries(
    Object.entries(named).flatMap(([name, text]) => (text === undefined ? [] : [[name, text]])),
  );
  const special = new Set(Object.values(specialTokens));
  const added = tokens.flatMap((content, id) => {
    const isSpecial = types[id] === CONTROL || special.has(content);
    return isSpecial || types[id] === USER_DEFINED
      ? [{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: isSpecial }]
      : [];
  });
  const chatTemplate = metadata.optionalText('tokenizer.chat_template') ?? null;
  const namedTemplates = templatesOf(metadata);
  const stops = [...new Set([idOf('eos'), idOf('eot'), idOf('eom')])].filter((id) => id !== undefined);
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: added,
    normalizer: components.normalizer as Json,
    pre_tokenizer: components.preTokenizer as Json,
    post_processor: postProcessor(addBos ? bos : undefined, addEos ? eos : undefined, tokens) as Json,
    decoder: components.decoder as Json,
    model: components.model,
  };
  return {
    tokenizer,
    tokenizerConfig: {
      ...specialTokens,
      add_bos_token: addBos,
      add_eos_token: addEos,
      clean_up_tokenization_spaces: false,
      model_max_length: metadata.optionalNumber('arch.context_length') ?? 2048,
      tokenizer_class: 'PreTrainedTokenizerFast',
    },
    specialTokensMap: specialTokens,
    generationConfig: {
      ...(idOf('bos') === undefined ? {} : { bos_token_id: idOf('bos') ?? null }),
      ...(stops.length === 0 ? {} : { eos_token_id: stops.length === 1 ? (stops[0] ?? null) : stops }),
      ...(idOf('padding') === undefined ? {} : { pad_token_id: idOf('padding') ?? null }),
    },
    chatTemplate,
    namedTemplates,
  };
}

function postProcessor(bos: string | undefined, eos: string | undefined, tokens: readonly string[]): object | null {
  if (bos === undefined && eos === undefined) return null;
  const token = (text: string | undefined, type: number): object[] =>
    text === undefined ? [] : [{ SpecialToken: { id: text, type_id: type } }];
  const sequence = (id: string, type: number): object[] => [
    ...token(bos, type),
    { Sequence: { id, type_id: type } },
    ...token(eos, type),
  ];
  const listed = [bos, eos]
    .filter((text) => text !== undefined)
    .map((text) => [text, { id: text, ids: [tokens.indexOf(text)], tokens: [text] }]);
  return {
    type: 'TemplateProcessing',
    single: sequence('A', 0),
    pair: [...sequence('A', 0), ...sequence('B', 1)],
    special_tokens: Object.fromEntries(listed),
  };
}

const NAMED_TEMPLATE = 'tokenizer.chat_template.';

/** Returns the chat templates that have a name, except for `default`, which has a key of its own. */
function templatesOf(metadata: Metadata): ReadonlyMap<string, string> {
  const templates = new Map<string, string>();
  for (const key of metadata.keys()) {
    const name = key.startsWith(NAMED_TEMPLATE) ? key.slice(NAMED_TEMPLATE.length) : '';
    const template = /^[\w-]+$/.test(name) && name !== 'default' ? metadata.optionalText(key) : undefined;
    if (template !== undefined) templates.set(name, template);
  }
  return templates;
}
