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
    evaluations: run.evalData === null ? 0 : evaluationsOf(run.config.training.evalStrategy, plan),
    checkpoints: checkpointsOf(run.config.training.saveStrategy, plan),
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

/** Returns how often a strategy that names occasions acts in a run. */
function occasions(strategy: string, every: number, { totalSteps, epochs }: StepPlan): number {
  if (strategy === 'no') return 0;
  return strategy === 'epoch' ? epochs : Math.floor(totalSteps / every);
}

const evaluationsOf = (strategy: string, plan: StepPlan): number =>
  strategy === 'ends' ? 2 : occasions(strategy, plan.evalSteps, plan);

/** The last step is always saved, unless nothing is. */
const checkpointsOf = (strategy: string, plan: StepPlan): number =>
  strategy === 'end'
    ? 1
    : occasions(strategy, plan.saveSteps, plan) +
      (strategy === 'steps' && plan.totalSteps % plan.saveSteps > 0 ? 1 : 0);

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
