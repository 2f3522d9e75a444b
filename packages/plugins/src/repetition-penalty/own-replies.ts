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
import { unlikelihood } from './terms.js';

export interface OwnRepliesOptions {
  readonly weight: number;
  readonly ngram: number;
  readonly maxNewTokens: number;
  readonly pool: number;
  readonly everySteps: number;
  readonly perMicrobatch: number;
  readonly prompts: readonly string[] | null;
}

/** A prompt and what the model made of it, as tokens. */
interface OwnReply {
  readonly prompt: readonly number[];
  readonly reply: readonly number[];
}

/**
 * The model's own greedy replies, made anew every so many steps, and the unlikelihood of what repeats itself in them.
 */
export interface OwnReplies {
  start(loaded: LoadedModel): void;
  /** Notes the prompts of what is trained on; they are asked where the options name none. */
  see(batch: Batch): void;
  /** Before a step, counted from 1: makes new replies where they are due. */
  prepare(step: number): Promise<void>;
  /**
   * Mean unlikelihood of the next replies' tokens that repeat an n-gram, in nats; null where there is nothing to say.
   * Differentiable; call inside `tf.tidy`.
   */
  term(): Scalar | null;
  /** Share of repeated n-grams in the present replies. */
  readonly rate: number | null;
  saveState(): Json;
  loadState(state: Json): void;
}

/** Sequence-level unlikelihood (Welleck et al. 2019). */
export function createOwnReplies(options: OwnRepliesOptions): OwnReplies {
  const { ngram, pool, everySteps, perMicrobatch, maxNewTokens } = options;
  let loaded: LoadedModel | null = null;
  let seen: readonly (readonly number[])[] = [];
  let asked: readonly (readonly number[])[] | null = null;
  let replies: readonly OwnReply[] = [];
  let next = 0;
  return {
    start(given) {
      loaded = given;
      const { tokenizer, renderer } = given;
      asked =
        options.prompts?.map((content) =>
          tokenizer.encode(renderer.renderPrompt([{ role: 'user', content }]), { addSpecialTokens: false }),
        ) ?? null;
    },
    see(batch) {
      if (asked !== null) return;
      const known = new Map([...seen, ...promptsOf(batch, IGNORED_LABEL)].map((prompt) => [prompt.join(' '), prompt]));
      seen = [...known.values()].slice(-pool);
    },
    async prepare(step) {
      next = (step - 1) * perMicrobatch;
      if (replies.length > 0 && (step - 1) % everySteps !== 0) return;
      if (loaded === null)
        throw new WhetstoneError(
          'INTERNAL',
          'repetition-penalty was not told the model: replies of its own cannot be made.',
        );
      const { model, tokenizer, renderer } = loaded;
      const round = Math.floor((step - 1) / everySteps);
      const prompts =
        asked === null
          ? seen
          : Array.from(
              { length: Math.min(pool, asked.length) },
              (_, index) => asked?.[(round * pool + index) % asked.length] ?? [],
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
      seen: seen.map((prompt) => [...prompt]),
      replies: replies.map(({ prompt, reply }) => ({ prompt: [...prompt], reply: [...reply] })),
    }),
    loadState(state) {
      const saved = state as unknown as {
        readonly seen: readonly (readonly number[])[];
        readonly replies: readonly OwnReply[];
      };
      seen = saved.seen;
      replies = saved.replies;
    },
  };
}

/**
 * Summed over the repeated tokens of the replies, divided by all of their tokens. Only rows that repeat something are
 * computed.
 */
function meanUnlikelihood(model: LanguageModel, replies: readonly OwnReply[], ngram: number): Scalar | null {
  const tokens = replies.reduce((sum, { reply }) => sum + reply.length, 0);
  const flagged = replies
    .map((own) => ({ ...own, repeated: repeatedTokens(own.reply, ngram) }))
    .filter(({ repeated }) => repeated.includes(true));
  if (flagged.length === 0) return null;
  // The last token predicts nothing; lengths go up to a multiple of 16, as few shapes compile faster.
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
  // Filled up to one of few shapes: a position more, at which nothing is forbidden.
  while (positions.length % 16 !== 0) {
    positions.push(positions[0] ?? 0);
    candidates.push([]);
  }
  return div(unlikelihood(model.logits(input, Int32Array.from(positions)), candidates), tokens);
}
