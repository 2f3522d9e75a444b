import type { ResolvedConfig } from '../config/types.js';
import { formatBytes } from '../util/index.js';

/** The keys of a configuration on which memory depends. */
export type MemoryConfig = Pick<
  ResolvedConfig,
  'model' | 'backend' | 'data' | 'strategy' | 'companions' | 'optimizer' | 'training'
>;

/** What the memory of a run consists of, in bytes. */
export interface MemoryParts {
  /** The weights of the model, as they are stored. */
  readonly weights: number;
  /** What `qlora` would quantise: the weights of linear layers without the head. */
  readonly linearWeights: number;
  /** What `model.dtype` would round: frozen matrices that are stored as float32. */
  readonly float32Weights: number;
  /** The trained parameters that are not weights of the model: an adapter. */
  readonly adapter: number;
  /** The gradients of the trained parameters. */
  readonly gradients: number;
  /** The state of the optimizer. */
  readonly optimizer: number;
  /** Float32 masters, the states of strategies and callbacks, and restore points. */
  readonly states: number;
  /** What a step keeps for the backward pass, and the logits. */
  readonly activations: number;
}

/** The sum of all parts. */
export const totalOf = (parts: MemoryParts): number =>
  parts.weights + parts.adapter + parts.gradients + parts.optimizer + parts.states + parts.activations;

/** Rows of this length are short already. */
const SHORT_LENGTH = 64;

interface Option {
  readonly text: string;
  /** An estimate of the bytes that it saves. */
  readonly saves: number;
}

/** Options that save less than this share are not named. */
const LEAST_SHARE = 0.02;

/** The share of the activations of DoRA that LoRA does not need. */
const DORA_SHARE = 1 / 3;

/** Bytes per number of the storage of `qlora` with its defaults, and of bfloat16. */
const NF4_BYTES = 0.52;
const BFLOAT16_BYTES = 2;

const half = (value: number): number => Math.max(1, Math.floor(value / 2));

/** The options that make the microbatches smaller. */
function* batchOptions(
  { training, data }: MemoryConfig,
  { activations }: MemoryParts,
  longest: number | null,
): Iterable<Option> {
  const { perDeviceTrainBatchSize: rows, gradientAccumulationSteps: accumulation } = training;
  const least = longest ?? 1;
  if (data.tokensPerBatch !== null && data.tokensPerBatch > least)
    yield { text: `data.tokensPerBatch ${Math.max(least, half(data.tokensPerBatch))}`, saves: activations / 2 };
  else if (data.tokensPerBatch === null && rows > 1)
    yield {
      text:
        `training.perDeviceTrainBatchSize 1 with training.gradientAccumulationSteps ${rows * accumulation} ` +
        '(computes the same step)',
      saves: activations * (1 - 1 / rows),
    };
  if (longest === null || longest > SHORT_LENGTH)
    yield {
      text: `data.maxLength${longest === null ? '' : ` ${half(longest)}`} (cuts longer texts)`,
      saves: activations / 2,
    };
}

/** The options that train less, or store less for what is trained. */
function* trainedOptions({ strategy, companions, optimizer }: MemoryConfig, parts: MemoryParts): Iterable<Option> {
  const trained = parts.gradients + parts.optimizer;
  if (strategy.use === 'full')
    yield { text: 'strategy "lora" (trains an adapter instead of all weights)', saves: trained + parts.states };
  const layers = strategy.options['trainLastLayers'];
  if (strategy.use === 'frozen-layers' && typeof layers === 'number' && layers > 1)
    yield { text: `trainLastLayers ${half(layers)} of strategy "frozen-layers"`, saves: trained / 2 };
  const rank = strategy.options['rank'];
  if (isLora(strategy) && typeof rank === 'number' && rank > 1)
    yield { text: `rank ${half(rank)} of strategy "${strategy.use}"`, saves: (trained + parts.adapter) / 2 };
  if (isLora(strategy) && strategy.options['useDora'] === true)
    yield { text: `useDora false of strategy "${strategy.use}"`, saves: parts.activations * DORA_SHARE };
  if (optimizer.use === 'adamw')
    yield { text: 'optimizer "sgd" (keeps no moments; trains differently)', saves: parts.optimizer };
  if (companions.some(({ use }) => use === 'ewc')) yield { text: 'no companion "ewc"', saves: parts.states };
}

const isLora = ({ use }: MemoryConfig['strategy']): boolean => use === 'lora' || use === 'qlora';

/** The options that store weights in fewer bytes. */
function* weightOptions({ strategy, model, backend }: MemoryConfig, parts: MemoryParts): Iterable<Option> {
  const { use, options } = strategy;
  const stored = parts.float32Weights > 0 ? 4 : BFLOAT16_BYTES;
  if (use === 'lora' && options['initLoraWeights'] !== 'pissa')
    yield { text: 'strategy "qlora" (4-bit weights)', saves: parts.linearWeights * (1 - NF4_BYTES / stored) };
  // A strategy that trains the weights themselves needs them in float32.
  if (use !== 'full' && model.dtype !== 'bfloat16')
    yield { text: 'model.dtype "bfloat16"', saves: parts.float32Weights * (1 - BFLOAT16_BYTES / 4) };
  const { devices } = backend;
  if (devices !== null && devices !== undefined && devices > 1)
    yield { text: 'backend.devices 1', saves: (totalOf(parts) * (devices - 1)) / devices };
}

/** Sizes in proportion to those of a small model, for errors that occur before anything is known. */
function typicalParts({ strategy }: Pick<MemoryConfig, 'strategy'>): MemoryParts {
  const isFull = strategy.use === 'full';
  return {
    weights: 1,
    linearWeights: 0.8,
    float32Weights: isFull ? 0 : 1,
    adapter: isFull ? 0 : 0.02,
    gradients: isFull ? 1 : 0.02,
    optimizer: isFull ? 2 : 0.04,
    states: 0,
    activations: 2,
  };
}

/**
 * Returns the options that reduce the memory of a run and that its configuration does not use yet, that with the
 * greatest effect first.
 *
 * @param parts the memory of the run; null if it is not known yet
 * @param longest the length of the longest row in tokens; null if it is not known yet
 */
export function memoryOptions(
  config: MemoryConfig,
  parts: MemoryParts | null,
  longest: number | null,
): readonly string[] {
  const known = parts ?? typicalParts(config);
  return [...batchOptions(config, known, longest), ...trainedOptions(config, known), ...weightOptions(config, known)]
    .filter(({ saves }) => saves >= LEAST_SHARE * totalOf(known))
    .toSorted((one, other) => other.saves - one.saves)
    .map(({ text, saves }) => (parts === null ? text : `${text}: about ${formatBytes(saves)} less`));
}

/** Returns options as a hint. */
export const optionsHint = (options: readonly string[]): string =>
  options.length === 0
    ? 'A smaller model, or a machine with more memory.'
    : `In the order of their effect: ${options.join('; ')}.`;
