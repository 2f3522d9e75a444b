import { join } from 'node:path';
import { WhetstoneError } from '../contract/index.js';
import type { LoadedModel } from '../contract/model.js';
import { checkOwnFile } from './model-folder.js';
import { exists } from './present.js';
import { isRecord, parseExact, stringifyExact } from '../util/index.js';
import { readJsonObject } from './read.js';
import { readText } from './regular.js';

/** The tokens that end the assistant's turns, compared with the stop lists of a model's folder. */
export interface StopTokens {
  /** Stop tokens of the chat template and the tokenizer that are not in the list that transformers and vLLM use. */
  readonly added: readonly number[];
  /** Those of `added` that are not the tokenizer's end token either, so that no program stops at them. */
  readonly unlisted: readonly number[];
  /** The text of generation_config.json with all stop tokens. Its other numbers are as they were written. */
  readonly generationConfig: string;
}

const idsOf = (value: unknown): readonly number[] =>
  (Array.isArray(value) ? value : [value]).filter((id): id is number => Number.isInteger(id) && Number(id) >= 0);

type Fields = Readonly<Record<string, unknown>>;

/**
 * Returns the stop tokens of a list: `eos_token_id` of generation_config.json, or that of config.json if the file is
 * missing. transformers does not read both.
 */
const listOf = (generation: Fields | null, config: Fields): readonly number[] =>
  idsOf(generation === null ? fieldOf(config, 'eos_token_id') : generation['eos_token_id']);

/**
 * Returns the stop tokens that the folder of a model lists, at which transformers and vLLM stop.
 *
 * @throws `MODEL_CONFIG_INVALID` if the file that lists them is not a JSON object
 */
export async function listedStopTokens(folder: string): Promise<readonly number[]> {
  const generation = await readConfig(folder, 'generation_config.json');
  return listOf(generation, generation === null ? ((await readConfig(folder, 'config.json')) ?? {}) : {});
}

/**
 * Returns the stop tokens of a model, compared with the list of its folder.
 *
 * @throws `MODEL_CONFIG_INVALID` if generation_config.json is invalid
 */
export async function stopTokensOf({
  model,
  renderer,
  tokenizer,
}: Pick<LoadedModel, 'model' | 'renderer' | 'tokenizer'>): Promise<StopTokens> {
  // Its contents are written into the result.
  if (model.folder !== null) await checkOwnFile(model.folder, 'generation_config.json');
  const stored = model.folder === null ? null : await readConfig(model.folder, 'generation_config.json');
  const listed = listOf(stored, model.config);
  const added = [...new Set(renderer.stopTokenIds)].filter((id) => !listed.includes(id) && id < model.vocabularySize);
  const all = [...listed, ...added];
  const fromModel = ['bos_token_id', 'pad_token_id'].flatMap((key) => {
    const value = fieldOf(model.config, key);
    return value === null ? [] : [[key, value] as const];
  });
  return {
    added,
    unlisted: added.filter((id) => id !== tokenizer.eosTokenId),
    generationConfig: jsonLines({
      ...(stored ?? Object.fromEntries(fromModel)),
      ...(all.length === 0 ? {} : { eos_token_id: all.length === 1 ? (all[0] ?? null) : all }),
    }),
  };
}

/** Returns a field of config.json, which models of several kinds of input may nest in `text_config`. */
function fieldOf(config: Fields, key: string): unknown {
  const { text_config: text } = config;
  return config[key] ?? (isRecord(text) ? text[key] : null) ?? null;
}

/** Formats a flat object as JSON, a line for each key. Numbers stay as they were written, such as 1.0. */
function jsonLines(value: Fields): string {
  const lines = Object.entries(value).map(([key, one]) => `  ${JSON.stringify(key)}: ${stringifyExact(one)}`);
  return `{\n${lines.join(',\n')}\n}\n`;
}

/**
 * Reads a JSON file of a model folder, with numbers as they are written; null if it is missing.
 *
 * @throws `MODEL_CONFIG_INVALID` if it is not a JSON object
 */
async function readConfig(folder: string, name: string): Promise<Fields | null> {
  const file = join(folder, name);
  if (!exists(file)) return null;
  const failed = (message: string, cause: unknown): WhetstoneError =>
    new WhetstoneError('MODEL_CONFIG_INVALID', `${name} ${message}`, { place: { file }, cause });
  await readJsonObject(file, { missing: (cause) => failed('is missing.', cause), invalid: failed });
  return parseExact(await readText(file)) as Fields;
}

/** Returns a paragraph for the card of an adapter: how to stop at tokens that the base model does not list. */
export function stopTokensNote({ added }: StopTokens, { tokenizer }: Pick<LoadedModel, 'tokenizer'>): string {
  const tokens = added.map((id) => `\`${tokenizer.decode([id])}\` (token ${id})`).join(' or ');
  return (
    `\nReplies end with ${tokens}, which the base model does not list as stop tokens. \`generation_config.json\` in ` +
    'this folder lists all stop tokens. Pass its `eos_token_id` to `generate` of transformers, or as ' +
    '`stop_token_ids` to vLLM.\n'
  );
}
