import { setImmediate } from 'node:timers/promises';
import { argMax, tidy } from '@tensorflow/tfjs-core';
import { WhetstoneError, type DecodeRow, type KeyValueCache, type LanguageModel } from '@whetstone/core/contract';
import { shapesAreStatic } from '@whetstone/core/ops/internal';
import { createRandom, type Random } from '@whetstone/core/random';
import { alternativesOf, bestToken, drawToken, type TokenAlternative } from './choose-token.js';
import type { LogitsProcessor } from './logits-processor.js';
import { checkOptions, processorOf, type GenerationOptions } from './options.js';

/** Why a reply ended: at a stop token or stop string, or at the maximum length. */
export type FinishReason = 'stop' | 'length';

/** A prompt to continue. */
export interface GenerationRequest {
  /** Token ids; at least one. */
  readonly prompt: readonly number[];
  readonly options?: GenerationOptions;
  /** Distinguishes requests with the same seed, so that their samples differ; 0 by default. */
  readonly stream?: number;
}

/** A token of a reply. */
export interface Token {
  /** The number of the request, in the order of `add`. */
  readonly request: number;
  readonly id: number;
  /** Set on the last token of a reply, null before. */
  readonly finish: FinishReason | null;
  /** The log-probability of the token, and the likeliest tokens; only if `logProbabilities` is set. */
  readonly alternatives?: { readonly logProbability: number; readonly top: readonly TokenAlternative[] };
}

export interface GeneratorOptions {
  /** Maximum number of replies that are generated at once; 32 by default. */
  readonly batchSize?: number;
  /** Maximum bytes of keys and values; 1 GiB by default. One reply is generated even if it needs more. */
  readonly cacheBytes?: number;
  /**
   * Maximum number of tokens of a prompt that are read in one step, so that long prompts do not hold up other replies;
   * 512 by default. A step reads at most four times as many of all prompts, which limits the memory of activations.
   */
  readonly chunkTokens?: number;
}

/** A request that occupies a slot, or waits for one. */
interface Sequence {
  readonly request: number;
  /** The prompt, then the reply. */
  readonly ids: number[];
  readonly promptLength: number;
  /** The length at which the reply ends. */
  readonly end: number;
  readonly stopTokenIds: ReadonlySet<number>;
  /** Null: the scores are used as they are. */
  readonly processor: LogitsProcessor | null;
  /** Null: the likeliest token is chosen. */
  readonly random: Random | null;
  readonly logProbabilities: number | null;
}

/**
 * Generates replies to requests, several at once. Each occupies a slot of one key-value cache. A finished reply leaves
 * its slot to the next request at once (continuous batching), so requests can be added at any time.
 *
 * A request does not affect the replies to others, except for the rounding of floating-point sums.
 */
export class Generator {
  private readonly waiting: Sequence[] = [];
  private slots: (Sequence | null)[] = [];
  private cache: KeyValueCache | null = null;
  private added = 0;

  /** @throws `USAGE` if an option is out of range */
  constructor(
    private readonly model: LanguageModel,
    private readonly options: GeneratorOptions = {},
  ) {
    for (const name of ['batchSize', 'cacheBytes', 'chunkTokens'] as const) {
      const { [name]: value = 1 } = options;
      if (Number.isInteger(value) && value > 0) continue;
      const details = { expected: 'an integer of at least 1', found: String(value) };
      throw new WhetstoneError('USAGE', `${name} is out of range.`, details);
    }
  }

  /** Whether a request is unfinished. */
  get busy(): boolean {
    return this.waiting.length > 0 || this.active().length > 0;
  }

  /**
   * Adds a request and returns its number.
   *
   * @throws `CONTEXT_EXCEEDED` if the prompt leaves no room for a token
   * @throws `USAGE` if the prompt is empty or an option is out of range
   */
  add({ prompt, options = {}, stream = 0 }: GenerationRequest): number {
    checkOptions(options);
    checkPrompt(this.model, prompt);
    const { maxNewTokens = 256, temperature = 0, stopTokenIds = [], seed = 0, logProbabilities } = options;
    const request = this.added++;
    if (maxNewTokens === 0) return request;
    this.waiting.push({
      request,
      ids: [...prompt],
      promptLength: prompt.length,
      end: Math.min(prompt.length + maxNewTokens, this.model.maxLength),
      stopTokenIds: new Set(stopTokenIds),
      processor: processorOf(options),
      random: temperature > 0 ? createRandom(seed, 'row', stream) : null,
      logProbabilities: logProbabilities ?? null,
    });
    return request;
  }

  /** Ends a request, which gets no further tokens. */
  cancel(request: number): void {
    const at = this.waiting.findIndex((sequence) => sequence.request === request);
    if (at >= 0) this.waiting.splice(at, 1);
    this.slots = this.slots.map((sequence) => (sequence?.request === request ? null : sequence));
  }

  /**
   * Generates one token for every request whose prompt has been read, and reads a chunk of the prompts of others. The
   * device is read once. Returns no tokens while only prompts are read.
   */
  async step(): Promise<readonly Token[]> {
    // Gives timers and signals a chance to run: pure JavaScript backends never yield to the event loop.
    await setImmediate();
    this.shrink();
    this.admit();
    this.readPrompts();
    const ready = this.slots.map((sequence, slot) => (this.unread(sequence, slot) === 1 ? sequence : null));
    if (ready.every((sequence) => sequence === null)) return [];
    const choices = await this.decode(ready);
    return ready.flatMap((sequence, slot) => {
      const choice = choices[slot];
      // A request may be cancelled while the device computes.
      return sequence === null || choice === undefined || this.slots[slot] !== sequence
        ? []
        : [this.accept(sequence, slot, choice)];
    });
  }

  /** Ends all requests and frees the keys and values. */
  dispose(): void {
    this.cache?.dispose();
    this.cache = null;
    this.slots = [];
    this.waiting.length = 0;
  }

  private active(): readonly number[] {
    return [...this.slots.keys()].filter((slot) => this.slots[slot] !== null);
  }

  /** Returns the number of tokens of a sequence that the cache lacks. The last one is read when it is continued. */
  private unread(sequence: Sequence | null, slot: number): number {
    return sequence === null ? 0 : sequence.ids.length - (this.cache?.lengths[slot] ?? 0);
  }

  /** Removes free slots if nothing waits for them and they are so many that copying the others costs less. */
  private shrink(): void {
    const active = this.active();
    const most = this.slots.length * (shapesAreStatic() ? 1 / 2 : 3 / 4);
    if (this.waiting.length > 0 || active.length === 0 || active.length > most) return;
    this.cache?.select(active);
    this.slots = active.map((slot) => this.slots[slot] ?? null);
  }

  /** Moves waiting requests into free slots, and adds slots, up to the limits of requests and memory. */
  private admit(): void {
    if (this.waiting.length === 0) return;
    if (this.cache === null) {
      this.cache = this.model.createCache(1);
      this.slots = [null];
    }
    const count = this.admissible(this.cache.bytesPerToken);
    const free = this.slots.flatMap((sequence, slot) => (sequence === null ? [slot] : []));
    const missing = Math.max(0, count - free.length);
    const added = Array.from({ length: missing }, (_, index) => this.slots.length + index);
    this.cache.select([...this.slots.keys(), ...added.map(() => 0)]);
    for (const slot of [...free, ...added].slice(0, count)) {
      this.cache.truncate(slot, 0);
      this.slots[slot] = this.waiting.shift() ?? null;
    }
  }

  /** Returns how many waiting requests may start now. */
  private admissible(bytesPerToken: number): number {
    const { batchSize = 32, cacheBytes = 2 ** 30 } = this.options;
    const active = this.active();
    let longest = Math.max(0, ...active.map((slot) => this.slots[slot]?.end ?? 0));
    let count = 0;
    for (const { end } of this.waiting) {
      longest = Math.max(longest, end);
      const running = active.length + count;
      if (running >= batchSize) break;
      if (running > 0 && (running + 1) * longest * bytesPerToken > cacheBytes) break;
      count++;
    }
    return count;
  }

  /** Reads the next chunk of the prompts that the cache lacks, except for the last token. */
  private readPrompts(): void {
    const { chunkTokens = 512 } = this.options;
    const rows: DecodeRow[] = [];
    let length = 0;
    for (const [slot, sequence] of this.slots.entries()) {
      const count = Math.min(this.unread(sequence, slot) - 1, chunkTokens);
      if (sequence === null || count <= 0) continue;
      length = Math.max(length, count);
      if (rows.length > 0 && (rows.length + 1) * length > 4 * chunkTokens) break;
      const start = this.cache?.lengths[slot] ?? 0;
      rows.push({ slot, ids: sequence.ids.slice(start, start + count), sequenceLength: sequence.ids.length });
    }
    if (rows.length === 0 || this.cache === null) return;
    // If each number of rows is compiled, only powers of two are used.
    this.model.read(shapesAreStatic() ? rows.slice(0, 2 ** Math.floor(Math.log2(rows.length))) : rows, this.cache);
  }

  /** Computes the next token of each ready sequence. Other slots are computed too, and ignored. */
  private async decode(ready: readonly (Sequence | null)[]): Promise<readonly (Choice | undefined)[]> {
    const { model, cache } = this;
    if (cache === null) return [];
    const rows = ready.map((sequence, slot): DecodeRow => ({ slot, ids: sequence?.ids.slice(-1) ?? [] }));
    const needsScores = ready.some(
      (sequence) =>
        sequence !== null &&
        (sequence.random !== null || sequence.processor !== null || sequence.logProbabilities !== null),
    );
    const result = tidy(() => {
      const logits = model.decode(rows, cache); // [slots, vocab]
      return needsScores ? logits : argMax(logits, 1); // [slots]
    });
    try {
      const values = await result.data();
      const { vocabularySize } = model;
      return ready.map((sequence, slot) => {
        if (sequence === null) return undefined;
        if (!needsScores) return { id: values[slot] ?? 0 };
        return choose(sequence, values.subarray(slot * vocabularySize, (slot + 1) * vocabularySize) as Float32Array);
      });
    } finally {
      result.dispose();
    }
  }

  /** Appends a token to a sequence, and frees its slot after the last one. */
  private accept(sequence: Sequence, slot: number, { id, alternatives }: Choice): Token {
    sequence.ids.push(id);
    const finish = sequence.stopTokenIds.has(id) ? 'stop' : sequence.ids.length >= sequence.end ? 'length' : null;
    if (finish !== null) this.slots[slot] = null;
    return { request: sequence.request, id, finish, ...(alternatives === undefined ? {} : { alternatives }) };
  }
}

type Choice = Pick<Token, 'id' | 'alternatives'>;

/** Chooses the next token of a sequence from the model's scores, [vocab]. */
function choose(sequence: Sequence, scores: Float32Array): Choice {
  const { processor, random, logProbabilities } = sequence;
  const processed = processor === null ? scores : processor(scores, sequence);
  const id = random === null ? bestToken(processed) : drawToken(processed, random);
  return logProbabilities === null ? { id } : { id, alternatives: alternativesOf(scores, id, logProbabilities) };
}

/**
 * @throws `CONTEXT_EXCEEDED` if a prompt leaves no room for a token
 * @throws `USAGE` if it is empty
 */
export function checkPrompt(model: LanguageModel, prompt: readonly number[]): void {
  if (prompt.length === 0) throw new WhetstoneError('USAGE', 'The prompt is empty.');
  if (prompt.length < model.maxLength) return;
  throw new WhetstoneError('CONTEXT_EXCEEDED', "The prompt is too long for the model's context.", {
    expected: `at most ${model.maxLength - 1} tokens`,
    found: `${prompt.length} tokens`,
    hint: 'Shorten the prompt or the conversation.',
  });
}
