import { join } from 'node:path';
import { isWhetstoneError, WhetstoneError, type Json } from '@whetstone/core/contract';
import { readText } from '@whetstone/core/files';
import { isNestedDeeper, isRecord, MAX_JSON_DEPTH } from '@whetstone/core/util';

export interface AddedTokenConfig {
  readonly id: number;
  readonly content: string;
  readonly single_word?: boolean;
  readonly lstrip?: boolean;
  readonly rstrip?: boolean;
  readonly normalized?: boolean;
  readonly special?: boolean;
}

interface Typed {
  readonly type: string;
  readonly [key: string]: unknown;
}
export type NormalizerConfig = Typed;
export type PreTokenizerConfig = Typed;
export type DecoderConfig = Typed;

/** The fields of tokenizer.json that are read here; the library reads the others. */
interface TokenizerDescription {
  readonly added_tokens: readonly AddedTokenConfig[];
  readonly normalizer: NormalizerConfig | null;
  readonly pre_tokenizer: PreTokenizerConfig | null;
  readonly post_processor: Typed | null;
  readonly decoder: DecoderConfig | null;
  readonly model: Typed;
}

/** Texts of special tokens by name: `bos_token`, `eos_token`, `pad_token` and so on. */
export type SpecialTokens = Readonly<Record<string, string>>;

export interface TokenizerFiles {
  readonly folder: string;
  readonly tokenizer: TokenizerDescription;
  readonly config: Readonly<Record<string, Json>>;
  readonly specialTokens: SpecialTokens;
}

const SPECIAL_NAMES = ['bos_token', 'eos_token', 'unk_token', 'sep_token', 'pad_token', 'cls_token', 'mask_token'];

/**
 * Reads the tokenizer files of a Hugging Face folder.
 *
 * @throws `TOKENIZER_INVALID` if a file is missing or invalid; for invalid JSON, with the line
 */
export async function readTokenizerFiles(folder: string): Promise<TokenizerFiles> {
  const tokenizer = await readJson(join(folder, 'tokenizer.json'), true);
  const config = (await readJson(join(folder, 'tokenizer_config.json'), false)) ?? {};
  const specialMap = (await readJson(join(folder, 'special_tokens_map.json'), false)) ?? {};
  const file = join(folder, 'tokenizer.json');
  return {
    folder,
    tokenizer: describe(tokenizer ?? {}, config, file),
    config: config as Record<string, Json>,
    specialTokens: specialTokensOf({ ...specialMap, ...config }),
  };
}

type JsonObject = Record<string, unknown>;

async function readJson(file: string, required: boolean): Promise<JsonObject | undefined> {
  let text: string;
  try {
    text = await readText(file);
  } catch (cause) {
    if (!required && (cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    if (isWhetstoneError(cause)) throw cause;
    throw new WhetstoneError('TOKENIZER_INVALID', 'The tokenizer file cannot be read.', {
      place: { file },
      cause,
      hint: 'A model folder needs tokenizer.json, as save_pretrained writes it. An import of a GGUF file creates it.',
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new WhetstoneError('TOKENIZER_INVALID', `The file is not JSON: ${(cause as Error).message}`, {
      place: { file, ...lineOf(text, cause as Error) },
      cause,
    });
  }
  if (isNestedDeeper(value))
    throw new WhetstoneError('TOKENIZER_INVALID', 'The file is nested too deeply.', {
      place: { file },
      expected: `at most ${MAX_JSON_DEPTH} objects and lists in each other`,
    });
  if (!isRecord(value))
    throw new WhetstoneError('TOKENIZER_INVALID', 'The file does not contain a JSON object.', {
      place: { file },
      expected: 'an object',
      found: Array.isArray(value) ? 'a list' : String(value),
    });
  return value;
}

function lineOf(text: string, error: Error): { line?: number } {
  const position = /position (\d+)/.exec(error.message)?.[1];
  return position === undefined ? {} : { line: text.slice(0, Number(position)).split('\n').length };
}

/** Checks the fields that the code relies on and adds the tokens that only tokenizer_config.json lists. */
function describe(tokenizer: JsonObject, config: JsonObject, file: string): TokenizerDescription {
  const invalid = (path: string, expected: string, found: unknown): never => {
    throw new WhetstoneError('TOKENIZER_INVALID', `The tokenizer's ${path} is invalid.`, {
      place: { file, path },
      expected,
      found: found === undefined ? 'nothing' : (JSON.stringify(found) ?? 'nothing').slice(0, 80),
    });
  };
  const typed = (key: string): Typed | null => {
    const value = tokenizer[key] ?? null;
    if (value === null) return null;
    return isRecord(value) && typeof value['type'] === 'string'
      ? (value as Typed)
      : invalid(key, 'an object with a type, or null', value);
  };
  const model = tokenizer['model'];
  if (!isRecord(model)) return invalid('model', 'an object', model);
  const vocabulary = model['vocab'];
  if (!isRecord(vocabulary) && !Array.isArray(vocabulary))
    invalid('model.vocab', 'an object of token to id, or a list of [token, score]', vocabulary);
  if (model['type'] === 'BPE' && !Array.isArray(model['merges'])) invalid('model.merges', 'a list', model['merges']);
  if (isRecord(vocabulary)) checkIds(vocabulary, invalid);
  const listed = tokenizer['added_tokens'] ?? [];
  if (!Array.isArray(listed)) return invalid('added_tokens', 'a list', listed);
  const added = listed.map((token: unknown, index) => {
    if (!isRecord(token) || typeof token['content'] !== 'string' || !isId(token['id']))
      return invalid(`added_tokens[${index}]`, 'an object with content and id', token);
    return token as unknown as AddedTokenConfig;
  });
  return {
    ...tokenizer,
    added_tokens: withConfigured(added, config),
    normalizer: typed('normalizer'),
    pre_tokenizer: typed('pre_tokenizer'),
    post_processor: typed('post_processor'),
    decoder: typed('decoder'),
    model: model as Typed,
  };
}

/** Limit of ids, because the library allocates a list as long as the largest id. */
const LARGEST_ID = 16_777_216;
const isId = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < LARGEST_ID;

function checkIds(vocabulary: JsonObject, invalid: (path: string, expected: string, found: unknown) => never): void {
  if (Object.values(vocabulary).every(isId)) return;
  for (const [token, id] of Object.entries(vocabulary))
    if (!isId(id)) invalid(`model.vocab[${JSON.stringify(token)}]`, 'an id: an integer of at least 0', id);
}

function withConfigured(listed: readonly AddedTokenConfig[], config: JsonObject): AddedTokenConfig[] {
  const decoder = config['added_tokens_decoder'];
  if (!isRecord(decoder)) return [...listed];
  const known = new Set(listed.map(({ id }) => id));
  const additional = Object.entries(decoder).flatMap(([id, token]): AddedTokenConfig[] => {
    const number = Number(id);
    return !known.has(number) && isId(number) && isRecord(token) && typeof token['content'] === 'string'
      ? [{ ...token, content: token['content'], id: number }]
      : [];
  });
  return [...listed, ...additional];
}

function specialTokensOf(source: JsonObject): SpecialTokens {
  const tokens: Record<string, string> = {};
  for (const [name, value] of Object.entries(source)) {
    if (!name.endsWith('_token') || !(SPECIAL_NAMES.includes(name) || isRecord(value) || typeof value === 'string'))
      continue;
    if (typeof value === 'string') tokens[name] = value;
    else if (isRecord(value) && typeof value['content'] === 'string') tokens[name] = value['content'];
  }
  return tokens;
}
