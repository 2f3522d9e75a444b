import { div, type Scalar } from '@tensorflow/tfjs-core';
import {
  IGNORED_LABEL,
  WhetstoneError,
  type Batch,
  type ForwardInput,
  type Json,
  type LanguageModel,
  type LoadedModel,
} from '@whetstone/core/contract';
import { promptsOf, repeatedTokens, repetitionRate } from './candidates.js';
import { greedyReplies } from './greedy-replies.js';
import type { OwnRepliesOptions } from './options.js';
import { unlikelihood } from './terms.js';

/** A prompt and the model's reply, as tokens. */
interface OwnReply {
  readonly prompt: readonly number[];
  readonly reply: readonly number[];
}

/**
 * The model's own greedy replies, which are generated again every few steps, and the unlikelihood loss on repetitions
 * in them.
 */
export interface OwnReplies {
  start(loaded: LoadedModel): void;
  /** Collects the prompts of the training data, which are used if the options do not list prompts. */
  see(batch: Batch): void;
  /** Generates new replies, if due. Called before each step; steps are counted from 1. */
  prepare(step: number): Promise<void>;
  /**
   * Returns the mean unlikelihood loss in nats on the repeated n-grams of the next replies; null without repetitions.
   * Differentiable; call inside `tf.tidy`.
   */
  term(): Scalar | null;
  /** Share of repeated n-grams in the current replies; null without replies. */
  readonly rate: number | null;
  saveState(): Json;
  loadState(state: Json): void;
}

/** Creates the sequence-level unlikelihood loss (Welleck et al. 2019). */
export function createOwnReplies(options: OwnRepliesOptions): OwnReplies {
  return new GreedyReplies(options);
}

type Prompt = OwnReply['prompt'];

class GreedyReplies implements OwnReplies {
  private loaded: LoadedModel | null = null;
  private trainingPrompts: readonly Prompt[] = [];
  private configuredPrompts: readonly Prompt[] | null = null;
  private replies: readonly OwnReply[] = [];
  /** Index of the next reply whose loss is computed, modulo their number. */
  private next = 0;

  constructor(private readonly options: OwnRepliesOptions) {}

  start(loaded: LoadedModel): void {
    this.loaded = loaded;
    const { tokenizer, renderer } = loaded;
    this.configuredPrompts =
      this.options.prompts?.map((content) =>
        tokenizer.encode(renderer.renderPrompt([{ role: 'user', content }]), { addSpecialTokens: false }),
      ) ?? null;
  }

  see(batch: Batch): void {
    if (this.configuredPrompts !== null) return;
    const known = new Map(
      [...this.trainingPrompts, ...promptsOf(batch, IGNORED_LABEL)].map((prompt) => [prompt.join(' '), prompt]),
    );
    this.trainingPrompts = [...known.values()].slice(-this.options.pool);
  }

  async prepare(step: number): Promise<void> {
    const { everySteps, perMicrobatch, maxNewTokens } = this.options;
    this.next = (step - 1) * perMicrobatch;
    if (this.replies.length > 0 && (step - 1) % everySteps !== 0) return;
    if (this.loaded === null)
      throw new WhetstoneError(
        'INTERNAL',
        'repetition-penalty did not receive the model, which it needs to generate replies.',
      );
    const { model, tokenizer, renderer } = this.loaded;
    const prompts = this.promptsOfRound(Math.floor((step - 1) / everySteps));
    if (prompts.length === 0) return;
    const stopTokenIds = [...renderer.stopTokenIds, ...(tokenizer.eosTokenId === null ? [] : [tokenizer.eosTokenId])];
    const made = await greedyReplies(model, prompts, { maxNewTokens, stopTokenIds });
    this.replies = prompts.map((prompt, index) => ({ prompt, reply: made[index] ?? [] }));
  }

  term(): Scalar | null {
    const { loaded, replies } = this;
    if (loaded === null || replies.length === 0) return null;
    const chosen = Array.from(
      { length: Math.min(this.options.perMicrobatch, replies.length) },
      (_, index) => replies[(this.next + index) % replies.length] as OwnReply,
    );
    this.next += chosen.length;
    return meanUnlikelihood(loaded.model, chosen, this.options.ngram);
  }

  get rate(): number | null {
    const { replies } = this;
    if (replies.length === 0) return null;
    return replies.reduce((sum, { reply }) => sum + repetitionRate(reply, this.options.ngram), 0) / replies.length;
  }

  saveState(): Json {
    return {
      seen: this.trainingPrompts.map((prompt) => [...prompt]),
      replies: this.replies.map(({ prompt, reply }) => ({ prompt: [...prompt], reply: [...reply] })),
    };
  }

  loadState(state: Json): void {
    const saved = state as unknown as { readonly seen: readonly Prompt[]; readonly replies: readonly OwnReply[] };
    this.trainingPrompts = saved.seen;
    this.replies = saved.replies;
  }

  /** Returns the prompts of the n-th generation: the next ones of the configuration, or those of the training data. */
  private promptsOfRound(round: number): readonly Prompt[] {
    const { configuredPrompts: configured, options } = this;
    if (configured === null) return this.trainingPrompts;
    return Array.from(
      { length: Math.min(options.pool, configured.length) },
      (_, index) => configured[(round * options.pool + index) % configured.length] ?? [],
    );
  }
}

/**
 * Returns the unlikelihood loss, summed over repeated tokens and divided by the number of all reply tokens. Only
 * replies with repetitions are computed.
 */
function meanUnlikelihood(model: LanguageModel, replies: readonly OwnReply[], ngram: number): Scalar | null {
  const tokens = replies.reduce((sum, { reply }) => sum + reply.length, 0);
  const flagged = replies
    .map((own) => ({ ...own, repeated: repeatedTokens(own.reply, ngram) }))
    .filter(({ repeated }) => repeated.includes(true));
  if (flagged.length === 0) return null;
  // The last token predicts nothing. Lengths are padded to multiples of 16, so that few shapes are compiled.
  const length = 16 * Math.ceil(Math.max(...flagged.map(({ prompt, reply }) => prompt.length + reply.length - 1)) / 16);
  const input: ForwardInput = {
    rows: flagged.length,
    length,
    ids: new Int32Array(flagged.length * length),
    segmentIds: new Int32Array(flagged.length * length),
    positionIds: new Int32Array(flagged.length * length),
  };
  const positions: number[] = [];
  const candidates: number[][] = [];
  for (const [row, { prompt, reply, repeated }] of flagged.entries()) {
    const text = [...prompt, ...reply].slice(0, -1);
    input.ids.set(text, row * length);
    input.segmentIds.fill(1, row * length, row * length + text.length);
    input.positionIds.set(
      text.map((_, position) => position),
      row * length,
    );
    for (const [index, token] of reply.entries()) {
      if (repeated[index] !== true) continue;
      positions.push(row * length + prompt.length + index - 1);
      candidates.push([token]);
    }
  }
  // The positions are padded, too. Added positions have no candidates.
  while (positions.length % 16 !== 0) {
    positions.push(positions[0] ?? 0);
    candidates.push([]);
  }
  return div(unlikelihood(model.logits(input, Int32Array.from(positions)), candidates), tokens);
}
