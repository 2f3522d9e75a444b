import type { Variable } from '@tensorflow/tfjs-core';
import type { RunPlan } from '../contract/run-plan.js';
import type { CheckpointSources } from '../checkpoint/index.js';
import {
  memoryLimits,
  memoryOptions,
  optionsHint,
  totalOf,
  type MemoryLimit,
  type MemoryParts,
} from '../memory/index.js';
import { storageOf } from '../ops/storage.js';
import { formatBytes, layerIndexOf } from '../util/index.js';
import { MAX_LOGITS_PER_CHUNK } from './cross-entropy-sum.js';
import { wantsLogits } from './train-step.js';
import type { TrainRun } from './train-run.js';

// The constants were fitted to the peak memory of runs of SmolLM2-135M and of its first six layers, which
// docs/memory-and-precision.md lists with the errors of the estimate.

/** Numbers that a layer keeps for the backward pass, in relation to the outputs of its linear layers. */
const KEPT_OF_OUTPUTS = 1.54;
/** The same in relation to its attention scores, some of which are recomputed. */
const KEPT_OF_SCORES = 0.7;
/** DoRA also computes every weight that it changes. */
const DORA_FACTOR = 1.5;
/** What is needed besides at once, in layers. XLA plans memory for a whole module. */
const WORKING_LAYERS = { tensorflow: 2, xla: 12, other: 2 } as const;
/** Copies of a chunk of logits: logits, probabilities and gradient. */
const LOGITS_COPIES = 2.6;
/** Memory of the process without tensors: Node.js, the library of the backend, its tables and compiled functions. */
const PROCESS_BYTES = { tensorflow: 0.55e9, xla: 0.55e9, other: 0.25e9 } as const;
/** Other backends run each operation at once and keep every intermediate result. Not measured. */
const EAGER_FACTOR = 2;

const engineOf = ({ backend, engine }: TrainRun['backend']): keyof typeof WORKING_LAYERS =>
  backend === 'whetstone' && (engine === 'tensorflow' || engine === 'xla') ? engine : 'other';

const FLOAT_BYTES = 4;

interface Sized {
  readonly size: number;
}

const sizeOf = (tensors: Iterable<Sized>): number => Array.from(tensors, ({ size }) => size).reduce((a, b) => a + b, 0);
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** The largest batch of a run. */
interface BatchSize {
  readonly tokens: number;
  /** The length of a row. */
  readonly length: number;
}

function largestBatch({ config, trainData, loaded }: Pick<TrainRun, 'config' | 'trainData' | 'loaded'>): BatchSize {
  const { data, training } = config;
  const most = data.maxLength ?? loaded.model.maxLength;
  const length = data.packing ? most : Math.min(most, trainData.summary.longest ?? most);
  return { length, tokens: Math.max(length, data.tokensPerBatch ?? training.perDeviceTrainBatchSize * length) };
}

/** Returns the number of layers that keep results for the backward pass: those from the first trained one on. */
function layersWithGradients(
  { layers, parameters, embeddingSite }: TrainRun['loaded']['model'],
  trained: Iterable<string>,
) {
  const lowest = Array.from(trained, (name) => {
    // An adapter without layers is at the input. The final norm and the head are above all layers.
    const isAbove = parameters.has(name) && name !== embeddingSite.name && !name.startsWith(`${embeddingSite.name}.`);
    return layerIndexOf(name) ?? (isAbove ? layers : 0);
  });
  return layers - Math.min(layers, ...lowest);
}

/** Returns what a step keeps for the backward pass, in bytes. */
function activationBytes(
  run: TrainRun,
  owner: { readonly trainable: ReadonlyMap<string, Variable> },
  batch: BatchSize,
) {
  const { model } = run.loaded;
  const outputs = sum([...model.linearSites.values()].flatMap((site) => (site.isOutput ? [] : [site.outFeatures])));
  const [attention] = model.attentionSites;
  const heads = attention === undefined ? 0 : Math.max(1, Math.round(model.hiddenSize / attention.headDim));
  const perLayer = KEPT_OF_OUTPUTS * (outputs / Math.max(1, model.layers)) + KEPT_OF_SCORES * heads * batch.length;
  const engine = engineOf(run.backend);
  const layers = layersWithGradients(model, owner.trainable.keys()) + WORKING_LAYERS[engine];
  const usesDora = run.config.strategy.options['useDora'] === true;
  const factor = (engine === 'other' ? EAGER_FACTOR : 1) * (usesDora ? DORA_FACTOR : 1);
  const positions = wantsLogits(run.hooks)
    ? batch.tokens
    : Math.min(batch.tokens, Math.ceil(MAX_LOGITS_PER_CHUNK / model.vocabularySize));
  return FLOAT_BYTES * (factor * layers * perLayer * batch.tokens + LOGITS_COPIES * positions * model.vocabularySize);
}

/** Returns what the memory of a run consists of. */
function partsOf(run: TrainRun, sources: CheckpointSources, batch: BatchSize): MemoryParts {
  const { attachments, optimizer, loaded } = sources;
  const { model } = loaded;
  const [{ instance: owner }] = attachments;
  const stored = [...model.parameters.values()];
  const isStored = new Set<Sized>(stored);
  const trained = [...owner.trainable.values()];
  const isTrained = new Set<Sized>(trained);
  const bytesOf = (parameters: readonly Variable[]): number => sum(parameters.map((each) => storageOf(each).bytes));
  const isFloat32 = (each: Variable): boolean => each.rank >= 2 && storageOf(each).format === 'float32';
  const linear = [...model.linearSites.values()].flatMap((site) => (site.isOutput ? [] : [site.weight]));
  const moments = optimizer.instance.stateValues?.(owner.trainable) ?? 2 * sizeOf(trained);
  const states = attachments.map(({ instance }) => sizeOf(instance.saveState().tensors.values()));
  const copies =
    (run.hooks.rollsBack ? sizeOf(trained) + moments : 0) + run.hooks.evaluationWeights.length * sizeOf(trained);
  return {
    weights: bytesOf(stored),
    linearWeights: bytesOf(linear.filter((each) => !isTrained.has(each))),
    float32Weights: bytesOf(stored.filter((each) => isFloat32(each) && !isTrained.has(each))),
    adapter: FLOAT_BYTES * sizeOf(trained.filter((each) => !isStored.has(each))),
    gradients: FLOAT_BYTES * sizeOf(trained),
    optimizer: FLOAT_BYTES * moments,
    states: FLOAT_BYTES * (sum(states) + copies),
    activations: activationBytes(run, owner, batch),
  };
}

/**
 * Returns the bytes of all parts at the peak of a step. Results that the backward pass has used are released while
 * gradients are added, unless the gradients of earlier microbatches are kept.
 */
function peakOf(parts: MemoryParts, trained: readonly Sized[], accumulates: boolean): number {
  const { gradients, activations } = parts;
  const largest = FLOAT_BYTES * Math.max(0, ...trained.map(({ size }) => size));
  const together = accumulates ? gradients + activations : Math.max(gradients, activations + largest);
  return totalOf(parts) - gradients - activations + together;
}

/** What a run will need, as far as it can be estimated before its first step. */
export interface MemoryNeed {
  readonly parts: MemoryParts;
  /** The memory of the process without tensors. */
  readonly processBytes: number;
  /** Of one process or device, at its peak. */
  readonly bytes: number;
  readonly batch: BatchSize;
}

/** Estimates the memory that a run needs. */
export function memoryNeed(run: TrainRun, sources: CheckpointSources): MemoryNeed {
  const batch = largestBatch(run);
  const parts = partsOf(run, sources, batch);
  const { deviceMemoryBytes, replicas } = run.backend;
  const isDevice = deviceMemoryBytes !== undefined;
  const processBytes = isDevice ? 0 : PROCESS_BYTES[engineOf(run.backend)];
  const trained = [...sources.attachments[0].instance.trainable.values()];
  const peak = peakOf(parts, trained, run.config.training.gradientAccumulationSteps > 1);
  // The devices of a processor share its memory; each has a copy of everything.
  return {
    parts,
    processBytes,
    bytes: Math.ceil(processBytes + peak * (isDevice ? 1 : (replicas?.count ?? 1))),
    batch,
  };
}

/** The memory that a run will need, and the smallest limit of it; null if there is none. */
export type MemoryEstimate = RunPlan['memory'];

/** A limit that a run will exceed. */
interface Exceeded {
  readonly limit: MemoryLimit;
  /** What the processes of the run need of it. */
  readonly needed: number;
  /** What they can use of it. */
  readonly usable: number;
}

/**
 * Returns the limit that a run exceeds by most; null if it fits.
 *
 * @param residentBytes the resident memory of this process, which is part of the need
 * @param processes the number of processes on this machine that need as much
 */
export function exceededLimit(
  bytes: number,
  limits: readonly MemoryLimit[],
  residentBytes: number,
  processes = 1,
): Exceeded | null {
  const exceeded = limits.map((limit) => ({
    limit,
    // More counts towards the address space than what is resident.
    needed: processes * (Math.max(bytes, residentBytes) + limit.ownBytes - residentBytes),
    usable: limit.limitBytes - Math.max(0, limit.usedBytes - processes * limit.ownBytes),
  }));
  const [worst] = exceeded.toSorted((one, other) => other.needed - other.usable - (one.needed - one.usable));
  return worst === undefined || worst.needed <= worst.usable ? null : worst;
}

/** Returns the limits of the memory that holds the tensors of a run: of the accelerator, or of this process. */
function limitsOf({ backend }: TrainRun): readonly MemoryLimit[] {
  const { deviceMemoryBytes } = backend;
  if (deviceMemoryBytes === undefined) return memoryLimits();
  if (deviceMemoryBytes === null) return [];
  return [{ origin: 'of the accelerator', limitBytes: deviceMemoryBytes, usedBytes: 0, ownBytes: 0 }];
}

/** Returns what a run needs, in words. */
function describeNeed({ parts, processBytes, batch }: MemoryNeed): string {
  const named: readonly (readonly [string, number])[] = [
    ['weights', parts.weights],
    ['adapter', parts.adapter],
    ['gradients', parts.gradients],
    ['optimizer', parts.optimizer],
    ['further states', parts.states],
    [`a step of ${batch.tokens.toLocaleString('en')} tokens in rows of ${batch.length}`, parts.activations],
    ['the process', processBytes],
  ];
  return named.flatMap(([name, bytes]) => (bytes < 1e6 ? [] : [`${name} ${formatBytes(bytes)}`])).join(', ');
}

/**
 * Compares the memory that a run will need with its limits, and warns if it is too little. Notes the options that
 * reduce it, for errors and for the next run. Returns the need and the smallest limit.
 */
export function warnAboutMemory(run: TrainRun, sources: CheckpointSources): MemoryEstimate {
  const need = memoryNeed(run, sources);
  const hint = optionsHint(memoryOptions(run.config, need.parts, need.batch.length));
  if (run.memory !== undefined) run.memory.hint = hint;
  const processes = run.localProcesses ?? 1;
  const resident = run.backend.deviceMemoryBytes === undefined ? process.memoryUsage.rss() : 0;
  const limits = limitsOf(run);
  const estimate = {
    bytes: need.bytes,
    limitBytes: limits.length === 0 ? null : Math.min(...limits.map(({ limitBytes }) => limitBytes)),
  };
  const exceeded = exceededLimit(need.bytes, limits, resident, processes);
  if (exceeded === null) {
    run.noteStatus?.({ hint });
    return estimate;
  }
  const { limit, needed, usable } = exceeded;
  run.noteStatus?.({ hint, shortage: { neededBytes: needed, usableBytes: usable, origin: limit.origin } });
  run.warn(
    `The run will need about ${formatBytes(needed)} of memory${processes > 1 ? ` for ${processes} processes` : ''} ` +
      `(${describeNeed(need)}). It can use ${formatBytes(usable)} of the limit ${limit.origin}, ` +
      `${formatBytes(limit.limitBytes)}. ${hint}`,
  );
  return estimate;
}
