import { setImmediate } from 'node:timers/promises';
import { WhetstoneError, type ForwardInput, type LanguageModel } from '@whetstone/core/contract';
import { shapesAreStatic } from '@whetstone/core/ops/internal';
import { createRandom } from '@whetstone/core/random';
import { bestToken, drawToken } from './choose-token.js';
import { checkOptions, processorOf, type GenerationOptions } from './options.js';

/** Why a row ended: at a stop token or stop string, or at the maximum length. */
export type FinishReason = 'stop' | 'length';

export interface GeneratedToken {
  /** Index of the prompt that the token continues. */
  readonly row: number;
  readonly id: number;
  /** Set on the last token of a row, null before. */
  readonly finish: FinishReason | null;
}

interface Row {
  readonly ids: number[];
  readonly promptLength: number;
  finished: boolean;
}

/** Ends rows of {@link generateIds} early. */
export interface GenerationControl {
  finish(row: number): void;
}

/**
 * Continues prompts token by token. Yields one token per unfinished row, then the next one of each. Shorter prompts are
 * padded on the left; padding does not affect the result. A row ends at a stop token, which is yielded too, after
 * `maxNewTokens`, or at the end of the model's context. Throws the reason of `signal` if it is aborted.
 *
 * @throws `CONTEXT_EXCEEDED` if a prompt leaves no room for a token
 * @throws `USAGE` if a prompt is empty or an option is out of range
 */
export async function* generateIds(
  model: LanguageModel,
  prompts: readonly (readonly number[])[],
  options: GenerationOptions = {},
  signal?: AbortSignal,
  control?: (control: GenerationControl) => void,
): AsyncGenerator<GeneratedToken, void, undefined> {
  if (prompts.length === 0) return;
  checkOptions(options);
  for (const prompt of prompts) checkPrompt(model, prompt);
  const { maxNewTokens = 256, temperature = 0, stopTokenIds = [] } = options;
  const process = processorOf(options);
  const randoms = prompts.map((_, row) => createRandom(options.seed ?? 0, 'row', row));
  const rows = prompts.map((prompt): Row => ({
    ids: [...prompt],
    promptLength: prompt.length,
    finished: maxNewTokens <= 0,
  }));
  control?.({
    finish(row) {
      const found = rows[row];
      if (found !== undefined) found.finished = true;
    },
  });
  const cache = model.createCache(rows.length);
  try {
    let input = promptInput(prompts, shapesAreStatic() ? model.maxLength : null);
    while (rows.some((row) => !row.finished)) {
      // Give timers and signals a chance to run: pure JavaScript backends never yield to the event loop.
      await setImmediate();
      signal?.throwIfAborted();
      const scores = await nextScores(model, input, cache);
      for (const [index, row] of rows.entries()) {
        if (row.finished) continue;
        const processed = process(
          scores.subarray(index * model.vocabularySize, (index + 1) * model.vocabularySize),
          row,
        );
        const random = randoms[index];
        const id = temperature > 0 && random !== undefined ? drawToken(processed, random) : bestToken(processed);
        row.ids.push(id);
        const full = row.ids.length - row.promptLength >= maxNewTokens || row.ids.length >= model.maxLength;
        const finish = stopTokenIds.includes(id) ? 'stop' : full ? 'length' : null;
        row.finished = finish !== null;
        yield { row: index, id, finish };
      }
      input = nextInput(rows);
    }
  } finally {
    cache.dispose();
  }
}

function checkPrompt(model: LanguageModel, prompt: readonly number[]): void {
  if (prompt.length === 0) throw new WhetstoneError('USAGE', 'The prompt is empty.');
  if (prompt.length < model.maxLength) return;
  throw new WhetstoneError('CONTEXT_EXCEEDED', "The prompt is too long for the model's context.", {
    expected: `at most ${model.maxLength - 1} tokens`,
    found: `${prompt.length} tokens`,
    hint: 'Shorten the prompt or the conversation.',
  });
}

/** With static shapes, prompts are padded to a multiple of this, so that few lengths are compiled. */
const PROMPT_STRIDE = 32;

/**
 * Puts all prompts into one batch, padded on the left. Padding is in segment 0, which no prompt token sees. With a
 * `longest`, the length is rounded up to a multiple of `PROMPT_STRIDE`, at most `longest`.
 */
function promptInput(prompts: readonly (readonly number[])[], longest: number | null): ForwardInput {
  const rows = prompts.length;
  const needed = Math.max(...prompts.map((prompt) => prompt.length));
  const length = longest === null ? needed : Math.min(longest, PROMPT_STRIDE * Math.ceil(needed / PROMPT_STRIDE));
  const ids = new Int32Array(rows * length);
  const segmentIds = new Int32Array(rows * length);
  const positionIds = new Int32Array(rows * length);
  for (const [row, prompt] of prompts.entries()) {
    for (const [position, id] of prompt.entries()) {
      const at = (row + 1) * length - prompt.length + position;
      ids[at] = id;
      segmentIds[at] = 1;
      positionIds[at] = position;
    }
  }
  return { rows, length, ids, segmentIds, positionIds };
}

/** Returns the newest token of each row. Finished rows repeat their last token; its scores are ignored. */
function nextInput(rows: readonly Row[]): ForwardInput {
  return {
    rows: rows.length,
    length: 1,
    ids: Int32Array.from(rows, ({ ids }) => ids.at(-1) ?? 0),
    segmentIds: new Int32Array(rows.length).fill(1),
    positionIds: Int32Array.from(rows, ({ ids }) => ids.length - 1),
  };
}

async function nextScores(
  model: LanguageModel,
  input: ForwardInput,
  cache: ReturnType<LanguageModel['createCache']>,
): Promise<Float32Array> {
  const logits = model.decode(input, cache);
  try {
    return await logits.data<'float32'>();
  } finally {
    logits.dispose();
  }
}
