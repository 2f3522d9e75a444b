import {
  IGNORED_LABEL,
  type Batch,
  type BatchSource,
  type PlannedData,
  type PlannedSample,
  type RunInfo,
  type RunPlan,
} from '../contract/index.js';
import type { MemoryEstimate } from './memory-need.js';
import type { StepPlan } from './step-plan.js';
import type { TrainRun } from './train-run.js';

/** A run that is ready for its first step. */
export interface PreparedRun {
  readonly run: TrainRun;
  readonly info: RunInfo;
  /** The training data, after all strategies have wrapped it. */
  readonly data: BatchSource;
  readonly plan: StepPlan;
  readonly memory: MemoryEstimate;
  /** Returns the learning rate of a step. `updates`: the number of steps before it. */
  learningRate(updates: number): number;
}

/** Describes what a run would do. `samples` is the number of training samples to decode. */
export async function describePlan(prepared: PreparedRun, samples: number): Promise<RunPlan> {
  const { run, info, data, plan, memory } = prepared;
  return {
    ...info,
    stepsPerEpoch: plan.stepsPerEpoch,
    learningRate: ratesOf(prepared),
    evaluations: evaluationsOf(run.config.training.evalStrategy, prepared),
    checkpoints: checkpointsOf(run.config.training.saveStrategy, prepared),
    data: { train: countsOf(data), eval: run.evalData === null ? null : countsOf(run.evalData) },
    memory,
    samples: await firstSamples(run, data, samples),
  };
}

function ratesOf({ info, learningRate }: PreparedRun): RunPlan['learningRate'] {
  const { startStep, totalSteps } = info;
  const last = Math.max(startStep, totalSteps - 1);
  let highest = -Infinity;
  for (let updates = startStep; updates <= last; updates++) highest = Math.max(highest, learningRate(updates));
  return { first: learningRate(startStep), highest, last: learningRate(last) };
}

/** Returns how often a strategy acts before the last step, and at it. A resumed run repeats nothing. */
function occasions(strategy: string, every: number, { info, plan }: PreparedRun): { before: number; atEnd: boolean } {
  const { startStep, totalSteps } = info;
  if (strategy !== 'steps' && strategy !== 'epoch') return { before: 0, atEnd: startStep < totalSteps };
  const interval = strategy === 'epoch' ? plan.stepsPerEpoch : every;
  const before = Math.floor((totalSteps - 1) / interval) - Math.floor(startStep / interval);
  return { before: Math.max(0, before), atEnd: startStep < totalSteps };
}

/** The weights are always evaluated after the last step, unless nothing is evaluated. */
function evaluationsOf(strategy: string, prepared: PreparedRun): number {
  if (strategy === 'no' || prepared.run.evalData === null) return 0;
  const { before, atEnd } = occasions(strategy, prepared.plan.evalSteps, prepared);
  return before + (strategy === 'ends' && prepared.info.startStep === 0 ? 1 : 0) + (atEnd ? 1 : 0);
}

/** The end of a run is always saved, also if no step is left, unless nothing is. */
const checkpointsOf = (strategy: string, prepared: PreparedRun): number =>
  strategy === 'no' ? 0 : occasions(strategy, prepared.plan.saveSteps, prepared).before + 1;

const countsOf = ({ summary, batchesPerEpoch }: BatchSource): PlannedData => ({
  conversations: summary.conversations,
  tokens: summary.tokens,
  supervisedTokens: summary.supervisedTokens,
  unreadable: summary.unreadable.length,
  truncated: summary.truncated,
  withoutTargets: summary.withoutTargets,
  longest: summary.longest ?? null,
  batchesPerEpoch,
});

/** Decodes the first samples of the first epoch, as the model receives them. */
async function firstSamples({ loaded }: TrainRun, data: BatchSource, count: number): Promise<readonly PlannedSample[]> {
  const samples: PlannedSample[] = [];
  if (count === 0) return samples;
  for await (const batch of data.epoch(0)) {
    for (let row = 0; row < batch.rows && samples.length < count; row++)
      samples.push(...documentsOf(batch, row, (ids) => loaded.tokenizer.decode(ids)));
    if (samples.length >= count) break;
  }
  return samples.slice(0, count);
}

/** Returns the documents of a row: one, or several if the row is packed. */
function documentsOf(batch: Batch, row: number, decode: (ids: number[]) => string): PlannedSample[] {
  const start = row * batch.length;
  const documents = new Map<number, { ids: number[]; supervised: boolean[] }>();
  for (let at = start; at < start + batch.length; at++) {
    const segment = batch.segmentIds[at] ?? 0;
    if (segment === 0) continue;
    const document = documents.get(segment) ?? { ids: [], supervised: [] };
    documents.set(segment, document);
    document.ids.push(batch.ids[at] ?? 0);
    // The first token of a document is predicted from nothing.
    document.supervised.push(document.ids.length > 1 && batch.labels[at] !== IGNORED_LABEL);
  }
  return Array.from(documents.values(), ({ ids, supervised }) => sampleOf(ids, supervised, decode));
}

function sampleOf(
  ids: readonly number[],
  supervised: readonly boolean[],
  decode: (ids: number[]) => string,
): PlannedSample {
  const spans: PlannedSample['spans'][number][] = [];
  for (let start = 0; start < ids.length;) {
    let end = start + 1;
    while (end < ids.length && supervised[end] === supervised[start]) end++;
    spans.push({ text: decode(ids.slice(start, end)), tokens: end - start, learned: supervised[start] === true });
    start = end;
  }
  return { tokens: ids.length, supervisedTokens: supervised.filter(Boolean).length, spans };
}
