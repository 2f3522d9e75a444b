import type { Conversation, Message } from './data.js';
import type { Json } from './json.js';
import type { LoadedModel } from './model.js';

/**
 * One sample of the evaluation data: a chat whose last text answer is the reference. Chats without an answer, plain
 * texts and pairs of prompt and completion without roles are no samples.
 */
export interface MetricSample {
  /** The conversation, after the transforms of the evaluation data. */
  readonly conversation: Conversation;
  /** The messages before the reference. */
  readonly prompt: readonly Message[];
  /** The answers of the data, without white space at their ends. Today there is exactly one. */
  readonly references: readonly [string, ...string[]];
  /** The other columns of the row (topic, difficulty, …); empty if there are none. */
  readonly columns: Readonly<Record<string, Json>>;
}

/** A sample with the model's own reply. */
export interface ReplySample extends MetricSample {
  /** The reply to `prompt` that the model generated, without special tokens and without white space at its ends. */
  readonly reply: string;
}

/** A sample with the probabilities that the model assigns to the references. Nothing is generated for it. */
export interface LikelihoodSample extends MetricSample {
  /** The tokens of each reference and their probabilities, in the order of `references`. */
  readonly likelihoods: readonly ReferenceLikelihood[];
}

/**
 * The tokens of a reference and their log-probabilities under the model.
 *
 * The tokens are those of the answer's turn as the chat template renders it after the prompt, including the end of the
 * turn and excluding the role header: the tokens that training supervises. If prompt and answer are longer than
 * `data.maxLength`, or than the model's context if that is null, the first tokens of both together are left out.
 */
export interface ReferenceLikelihood {
  /** Token ids, `[tokens]`. Empty if the template does not write the answer. */
  readonly tokens: Int32Array;
  /**
   * The natural logarithm of the probability of each token, given all tokens before it, `[tokens]`. Each is at most 0;
   * their sum is the log-likelihood of the reference in nats.
   */
  readonly logProbabilities: Float32Array;
  /** The most likely token at the position of each token, `[tokens]`: equal to it if the model predicts it. */
  readonly mostLikely: Int32Array;
  /** The natural logarithm of the probability of each most likely token, `[tokens]`. */
  readonly highestLogProbabilities: Float32Array;
}

/**
 * A sample with several choices, one of which is the reference: the column `choices` of its row, a list of texts.
 * Nothing is generated for it.
 */
export interface ChoiceSample extends MetricSample {
  /** The choices, at least two, with the tokens of each as the answer to `prompt` and their probabilities. */
  readonly choices: readonly { readonly text: string; readonly likelihood: ReferenceLikelihood }[];
  /** The index of the reference among the choices. */
  readonly answer: number;
}

/**
 * The type of the samples for each value of `needs`, which says what an evaluation computes for a metric:
 *
 * - `none`: nothing. The metric reads the data.
 * - `replies`: the model generates a reply to each of the first `evaluation.replies` samples. The metric receives only
 *   these samples.
 * - `logProbabilities`: the log-probabilities of the reference tokens. No reply is generated.
 * - `choices`: the same for each choice of the sample. A sample without choices is an error.
 */
export interface MetricSamples {
  none: MetricSample;
  replies: ReplySample;
  logProbabilities: LikelihoodSample;
  choices: ChoiceSample;
}

/** What a metric needs of each sample. */
export type MetricNeeds = keyof MetricSamples;

/** Receives the samples of one evaluation and gives its numbers. */
export interface MetricAccumulator<S extends MetricSample> {
  /**
   * Receives the next sample. Samples come one after another, in the order of the evaluation data; the next one comes
   * after a returned promise has resolved. Keep counts and sums, not the samples: their number is not limited. Do not
   * change a sample.
   */
  add(sample: S): void | Promise<void>;
  /**
   * Returns finite numbers by name. Called once, after the last sample. Leave out a value that does not exist, such as
   * a mean without samples. Names must be different from those of the other metrics, and from `loss` and `perplexity`.
   */
  result(): Readonly<Record<string, number>> | Promise<Readonly<Record<string, number>>>;
}

/** A metric with one value of `needs`. */
export interface MetricOf<N extends MetricNeeds> {
  readonly needs: N;
  /**
   * The names of all numbers that `result` may return, so that a run can check options that name one; absent if they
   * are unknown before the evaluation.
   */
  readonly numbers?: readonly string[];
  /**
   * Returns a new accumulator without samples, for one evaluation. Accumulators share no state, and creating one has no
   * effect: it is also called once to check the metric when it is created.
   */
  createAccumulator(): MetricAccumulator<MetricSamples[N]>;
  /**
   * The additive form of the metric, if its numbers depend only on sums over the samples. An evaluation then uses it
   * instead of an accumulator, and can compute confidence intervals, compare models and score single samples.
   */
  readonly additive?: AdditiveMetric<MetricSamples[N]>;
}

/** Numbers that depend only on sums over the samples: means, and scores of a corpus such as BLEU. */
export interface AdditiveMetric<S extends MetricSample> {
  /** Returns finite numbers that are added up over the samples: the same count for each sample. */
  statistics(sample: S): readonly number[] | Promise<readonly number[]>;
  /**
   * Returns finite numbers by name for the samples whose statistics add up to `sums`: an empty list without samples. As
   * `result` of an accumulator, it leaves out a value that does not exist. Called often: for all samples, for single
   * ones and for resamples.
   */
  numbers(sums: readonly number[]): Readonly<Record<string, number>>;
}

/**
 * Measures evaluations. `needs` decides what is computed for each sample, and the type of the samples. With several
 * processes, only the process of rank 0 calls `add` and `result`: it receives all samples, in order, and shares the
 * numbers with the others.
 */
export type Metric = { [N in MetricNeeds]: MetricOf<N> }[MetricNeeds];

/**
 * Generates the assistant's reply to each conversation with a loaded model, including its adapter. Decoding is greedy.
 * Returns the replies in the order of the conversations, without special tokens.
 */
export type ReplyGenerator = (
  loaded: LoadedModel,
  conversations: readonly Pick<Conversation, 'messages' | 'tools' | 'templateVariables'>[],
  options: { readonly maxNewTokens: number; readonly signal?: AbortSignal },
) => Promise<readonly string[]>;
