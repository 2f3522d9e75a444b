import { setImmediate } from 'node:timers/promises';
import { tidy } from '@tensorflow/tfjs-core';
import { WhetstoneError, type KeyValueCache, type LanguageModel } from '@whetstone/core/contract';
import { highest } from './choose-token.js';
import { logSoftmax } from './logits-processor.js';
import { checkOptions, processorOf, type GenerationOptions } from './options.js';

/** Options of beam search, in addition to those of generation; names and meaning as in Hugging Face's `generate`. */
export interface BeamOptions {
  /** Continuations of a prompt that are followed at the same time. 1, the default, is no beam search. */
  readonly beams?: number;
  /** A finished reply's score is the sum of its log-probabilities ÷ length to the power of this; 1 by default. */
  readonly lengthPenalty?: number;
  /**
   * True: ends when there are as many finished replies as beams. False, the default: ends when the best beam, at its
   * present length, scores no better than the worst of these. 'never': as false, at the best possible length.
   */
  readonly earlyStopping?: boolean | 'never';
}

/** A reply that beam search found. */
export interface BeamReply {
  /** The tokens after the prompt, with the stop token if there is one. */
  readonly ids: readonly number[];
  readonly score: number;
}

/** A continuation that is followed; its keys and values are in the slot of the same index. */
interface Beam {
  /** The prompt, then the continuation. */
  readonly ids: readonly number[];
  /** The sum of log-probabilities. */
  readonly score: number;
}

interface Candidate extends Beam {
  /** The slot of the beam that it continues. */
  readonly source: number;
  readonly ended: boolean;
}

/** Tokens of a prompt that are read in one pass. */
const CHUNK_TOKENS = 512;

/**
 * Searches the replies to a prompt with the highest scores. Returns at most `beams` of them, the best one first. Finds
 * the same replies as transformers' `generate` with `num_beams`.
 *
 * @throws `USAGE` if an option is out of range, or tokens are sampled
 */
export async function beamSearch(
  model: LanguageModel,
  prompt: readonly number[],
  options: GenerationOptions & BeamOptions,
  signal?: AbortSignal,
): Promise<readonly BeamReply[]> {
  checkBeamOptions(options);
  const { beams: count = 1, maxNewTokens = 256, lengthPenalty = 1, earlyStopping = false } = options;
  const mostTokens = Math.min(maxNewTokens, model.maxLength - prompt.length);
  const cache = model.createCache(1);
  try {
    readPrompt(model, prompt, cache);
    cache.select(Array.from({ length: count }, () => 0));
    // Only the first beam counts at first: the others are equal.
    let running: readonly Beam[] = Array.from({ length: count }, (_, beam) => ({
      ids: prompt,
      score: beam === 0 ? 0 : -1e9,
    }));
    let finished: readonly BeamReply[] = [];
    for (let length = 1; length <= mostTokens; length++) {
      await setImmediate();
      signal?.throwIfAborted();
      const step = { ...options, promptLength: prompt.length, isLast: length === mostTokens };
      const candidates = await continuations(model, running, cache, step);
      const ended = candidates.slice(0, count).filter((candidate) => candidate.ended);
      const scored = ended.map(({ ids, score }) => ({
        ids: ids.slice(prompt.length),
        score: score / length ** lengthPenalty,
      }));
      finished = [...finished, ...scored].toSorted((one, other) => other.score - one.score).slice(0, count);

      const continued = candidates.filter((candidate) => !candidate.ended).slice(0, count);
      const [best] = continued;
      if (best === undefined) break;
      const isFull = finished.length === count;
      if (isFull && earlyStopping === true) break;
      const bestLength = earlyStopping === 'never' && lengthPenalty > 0 ? mostTokens : length;
      if (isFull && best.score / bestLength ** lengthPenalty <= (finished.at(-1)?.score ?? 0)) break;
      cache.select(continued.map(({ source }) => source));
      running = continued;
    }
    return finished;
  } finally {
    cache.dispose();
  }
}

/**
 * Returns the best continuations of all beams by one token: so many that enough remain if the best ones end. All of
 * them end at the last token.
 */
async function continuations(
  model: LanguageModel,
  beams: readonly Beam[],
  cache: KeyValueCache,
  { promptLength, isLast, ...options }: GenerationOptions & { readonly promptLength: number; readonly isLast: boolean },
): Promise<readonly Candidate[]> {
  const rows = beams.map(({ ids }, slot) => ({ slot, ids: ids.slice(-1) }));
  const logits = tidy(() => model.decode(rows, cache));
  const all = await logits.data<'float32'>();
  logits.dispose();
  const { vocabularySize } = model;
  const process = processorOf(options);
  const scores = new Float32Array(all.length);
  for (const [slot, { ids, score }] of beams.entries()) {
    const offset = slot * vocabularySize;
    const own = logSoftmax(all.subarray(offset, offset + vocabularySize));
    const processed = process?.(own, { ids, promptLength }) ?? own;
    for (let id = 0; id < vocabularySize; id++) scores[offset + id] = (processed[id] ?? 0) + score;
  }
  const stops = new Set(options.stopTokenIds);
  return highest(scores, Math.max(2, 1 + stops.size) * beams.length).map((index): Candidate => {
    const source = Math.floor(index / vocabularySize);
    const id = index % vocabularySize;
    const ids = [...(beams[source]?.ids ?? []), id];
    return { ids, score: scores[index] ?? -Infinity, source, ended: isLast || stops.has(id) };
  });
}

/** Reads a prompt without its last token. */
function readPrompt(model: LanguageModel, prompt: readonly number[], cache: KeyValueCache): void {
  for (let start = 0; start < prompt.length - 1; start += CHUNK_TOKENS) {
    const ids = prompt.slice(start, Math.min(start + CHUNK_TOKENS, prompt.length - 1));
    model.read([{ slot: 0, ids, sequenceLength: prompt.length }], cache);
  }
}

function checkBeamOptions(options: GenerationOptions & BeamOptions): void {
  checkOptions(options);
  const { beams = 1, temperature = 0 } = options;
  if (!Number.isInteger(beams) || beams < 1)
    throw new WhetstoneError('USAGE', 'beams is out of range.', {
      expected: 'an integer of at least 1',
      found: String(beams),
    });
  if (temperature > 0 || options.logProbabilities !== undefined)
    throw new WhetstoneError('USAGE', 'Beam search neither samples nor reports log-probabilities.', {
      hint: 'Leave out temperature and logProbabilities, or beams.',
    });
}
