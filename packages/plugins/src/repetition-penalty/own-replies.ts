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
  const { ngram, pool, everySteps, perMicrobatch, maxNewTokens } = options;
  let loaded: LoadedModel | null = null;
  let trainingPrompts: readonly (readonly number[])[] = [];
  let configuredPrompts: readonly (readonly number[])[] | null = null;
  let replies: readonly OwnReply[] = [];
  let next = 0;
  return {
    start(given) {
      loaded = given;
      const { tokenizer, renderer } = given;
      configuredPrompts =
        options.prompts?.map((content) =>
          tokenizer.encode(renderer.renderPrompt([{ role: 'user', content }]), { addSpecialTokens: false }),
        ) ?? null;
    },
    see(batch) {
      if (configuredPrompts !== null) return;
      const known = new Map(
        [...trainingPrompts, ...promptsOf(batch, IGNORED_LABEL)].map((prompt) => [prompt.join(' '), prompt]),
      );
      trainingPrompts = [...known.values()].slice(-pool);
    },
    async prepare(step) {
      next = (step - 1) * perMicrobatch;
      if (replies.length > 0 && (step - 1) % everySteps !== 0) return;
      if (loaded === null)
        throw new WhetstoneError(
          'INTERNAL',
          'repetition-penalty did not receive the model, which it needs to generate replies.',
        );
      const { model, tokenizer, renderer } = loaded;
      const round = Math.floor((step - 1) / everySteps);
      const prompts =
        configuredPrompts === null
          ? trainingPrompts
          : Array.from(
              { length: Math.min(pool, configuredPrompts.length) },
              (_, index) => configuredPrompts?.[(round * pool + index) % configuredPrompts.length] ?? [],
            );
      if (prompts.length === 0) return;
      const stopTokenIds = [...renderer.stopTokenIds, ...(tokenizer.eosTokenId === null ? [] : [tokenizer.eosTokenId])];
      const made = await greedyReplies(model, prompts, { maxNewTokens, stopTokenIds });
      replies = prompts.map((prompt, index) => ({ prompt, reply: made[index] ?? [] }));
    },
    term() {
      if (loaded === null || replies.length === 0) return null;
      const chosen = Array.from(
        { length: Math.min(perMicrobatch, replies.length) },
        (_, index) => replies[(next + index) % replies.length] as OwnReply,
      );
      next += chosen.length;
      return meanUnlikelihood(loaded.model, chosen, ngram);
    },
    get rate() {
      return replies.length === 0
        ? null
        : replies.reduce((sum, { reply }) => sum + repetitionRate(reply, ngram), 0) / replies.length;
    },
    saveState: () => ({
      seen: trainingPrompts.map((prompt) => [...prompt]),
      replies: replies.map(({ prompt, reply }) => ({ prompt: [...prompt], reply: [...reply] })),
    }),
    loadState(state) {
      const saved = state as unknown as {
        readonly seen: readonly (readonly number[])[];
        readonly replies: readonly OwnReply[];
      };
      trainingPrompts = saved.seen;
      replies = saved.replies;
    },
  };
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
