import { basename } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { hashBase, withNewAttempt, type AdapterOrigin, type CheckpointSources } from '../checkpoint/index.js';
import type { RunInfo } from '../contract/callback.js';
import type { BatchSource } from '../contract/data.js';
import { WhetstoneError } from '../contract/errors.js';
import type { RunReport, StepReport } from '../contract/report.js';
import type { RunPlan } from '../contract/run-plan.js';
import type { Attachment } from '../contract/strategy.js';
import type { PendingRequests } from '../hooks/types.js';
import { barrier, createStepSync } from '../distributed/step-sync.js';
import { checkCompanions, checkOwnFile } from '../files/index.js';
import { computing } from '../memory/index.js';
import { attachStrategies, wrapData, type Attached } from './attach.js';
import { warnAboutSpace } from './checkpoint-space.js';
import { warnAboutMemory, type MemoryEstimate } from './memory-need.js';
import { positionOf } from './continue-epoch.js';
import { createEvaluationWeights, findProvider, type EvaluationWeights } from './evaluation-weights.js';
import { exportResult } from './export-result.js';
import { createLossTerms, type LossTerms } from './loss-terms.js';
import { accumulationWindows, type StepBatches } from './gradient-accumulation.js';
import { createProgress, type RunProgress } from './progress.js';
import { describePlan } from './run-plan.js';
import { agreeOnRequests } from './requests.js';
import { createRollbacks, type Rollbacks } from './rollback.js';
import { createRunCheckpoints, type RunCheckpoints } from './run-checkpoints.js';
import { evaluateRun, measure } from './run-evaluation.js';
import { planSteps, type StepPlan } from './step-plan.js';
import { stageOf, type RunTraining, type TrainRun } from './train-run.js';
import { trainStep, type StepServices } from './train-step.js';
import { validateOptimizerState } from './validate-attachment.js';

/** The components of a run that is being trained. */
interface Training {
  readonly run: TrainRun;
  readonly attachments: Attached['all'];
  /** The training data, after all strategies have wrapped it. */
  readonly data: BatchSource;
  readonly plan: StepPlan;
  readonly progress: RunProgress;
  readonly checkpoints: RunCheckpoints;
  readonly rollbacks: Rollbacks;
  readonly evaluationWeights: EvaluationWeights;
  /** What the folder of an adapter records; null without an adapter. */
  readonly origin: AdapterOrigin | null;
  readonly step: StepServices;
  readonly terms: LossTerms;
  /** Returns the learning rate of a step. `updates`: the number of steps before it. */
  learningRate(updates: number): number;
  /** The epoch for which `onEpochStart` was called last, or null. */
  startedEpoch: number | null;
  /** The number of steps before this start of the run. */
  readonly startStep: number;
  /** The memory that the run will need. */
  readonly memory: MemoryEstimate;
}

/**
 * Executes a run: attaches the strategies, resumes, evaluates, trains the epochs, saves checkpoints, restores the best
 * weights, and exports the result. Requests of callbacks are executed between steps.
 *
 * @throws `INTERRUPTED` after saving a checkpoint, if the signal was aborted
 * @throws `ROLLBACK_LIMIT` if callbacks request more rollbacks than allowed
 * @throws errors of steps, hooks, data and files
 */
export const runTraining: RunTraining = async function* (run) {
  const { loop, dispose } = await open(run);
  let failed = true;
  try {
    await start(loop);
    do {
      while (continues(loop)) yield* trainEpoch(loop);
      await endOwedEpoch(loop);
      await evaluateAtEnd(loop);
    } while (await rollBackIfRequested(loop));
    const result = await finish(loop);
    failed = false;
    return result;
  } finally {
    dispose(failed);
  }
};

/**
 * Prepares a run up to its first step, and describes what it would do. No hook is called.
 *
 * @param samples the number of training samples to decode
 * @throws the errors of {@link runTraining} before the first step
 */
export async function planTraining(run: TrainRun, samples: number): Promise<RunPlan> {
  const { loop, dispose } = await open(run);
  let failed = true;
  try {
    const info = { ...runInfo(loop), outputFolder: run.config.output.folder };
    const described = await describePlan({ ...loop, info }, samples);
    failed = false;
    return described;
  } finally {
    dispose(failed);
  }
}

/** The loop of a run, once it is prepared. */
interface CurrentLoop {
  loop: Training | null;
}

/** Attaches the strategies of a run and prepares its loop. Disposes of what is attached if that fails. */
async function open(run: TrainRun): Promise<{ readonly loop: Training } & Pick<Attached, 'dispose'>> {
  const current: CurrentLoop = { loop: null };
  const { all, dispose } = await attachAll(run, current);
  try {
    const loop = await prepare(run, all);
    current.loop = loop;
    return { loop, dispose };
  } catch (error) {
    dispose(true);
    throw error;
  }
}

/** Attaches the strategies of a run. */
async function attachAll(run: TrainRun, current: CurrentLoop): Promise<Attached> {
  const { workers } = run;
  validateOptimizerState(run.optimizer);
  const initialPlan = planSteps(run.config.training, run.trainData.batchesPerEpoch);
  return attachStrategies(run, {
    seed: run.random.seed,
    get totalSteps() {
      return current.loop?.progress.totalSteps ?? initialPlan.totalSteps;
    },
    get stopped() {
      return run.hooks.requests.stopReason !== null;
    },
    modelFolder: baseFolderOf(run),
    dataHash: run.trainData.summary.contentHash,
    warn: run.warn,
    tokenizer: run.loaded.tokenizer,
    ...(run.openData === undefined ? {} : { openData: run.openData }),
    worker: { rank: workers.rank, count: workers.count },
  });
}

/** Returns the folder of the model on which the run trains: that of an earlier stage, or the configured one. */
const baseFolderOf = (run: TrainRun): string | null => run.stage?.modelFolder ?? run.loaded.model.folder;

/** Returns what the folder of an adapter records about this run. */
async function originOf(run: TrainRun): Promise<AdapterOrigin> {
  const folder = baseFolderOf(run);
  const { origin } = run.owner;
  return {
    strategy: origin === undefined ? null : { ...origin },
    base: { folder, hash: await hashBase(folder) },
  };
}

const continues = ({ run, progress }: Training): boolean =>
  progress.state.step < progress.totalSteps && run.hooks.requests.stopReason === null;

/** Creates the components of the run, resumes from a checkpoint, and claims the output folder. */
async function prepare(run: TrainRun, attachments: Attached['all']): Promise<Training> {
  const [{ instance: owner }, ...companions] = attachments;
  await checkCopiedFiles(run, owner);
  const data = wrapData(run.trainData, attachments);
  const plan = planSteps(run.config.training, data.batchesPerEpoch);
  const baseRate = run.config.optimizer.learningRate;
  const schedule = run.schedule.instance({ totalSteps: plan.totalSteps, learningRate: baseRate });
  const evaluationWeights = createEvaluationWeights(findProvider(run), owner);
  const origin = owner.exportAdapter === undefined ? null : await originOf(run);
  const sources: CheckpointSources = {
    ...run,
    attachments,
    dataHash: data.summary.contentHash,
    baseHash: origin?.base.hash ?? null,
    origin,
    evaluationWeights: evaluationWeights.current,
    restorePoint: { needed: () => rollbacks.needed(), load: (saved) => rollbacks.load(saved) },
  };
  const progress = createProgress(run, plan, data.batchesPerEpoch);
  const checkpoints: RunCheckpoints = createRunCheckpoints(run, sources, progress, {
    plan,
    totalParameters: countParameters(run, owner).total,
    evaluationWeights,
    onStored: () => rollbacks.renew(),
  });
  const rollbacks = createRollbacks(run, sources, progress, checkpoints);
  const sync = createStepSync(run.workers);
  await resumeAndClaim(run, sources, progress);
  progress.change({ ...positionOf(progress.state, data, plan, run.config), attempts: withNewAttempt(progress.state) });
  warnAboutPastEnd(run, progress);
  await warnAboutSpace(run, sources, plan, progress);
  const memory = warnAboutMemory(run, sources);
  await sync.broadcastParameters(owner, run.backend);
  const terms = createLossTerms(attachments, () => owner.trainable.values(), run.warn);
  run.hooks.seeTerm = terms.ofCallback;
  return {
    run,
    attachments,
    data,
    plan,
    progress,
    checkpoints,
    rollbacks,
    evaluationWeights,
    origin,
    step: {
      model: run.loaded.model,
      owner,
      companions: companions.map(({ instance }) => instance),
      hooks: run.hooks,
      optimizer: run.optimizer.instance,
      backend: run.backend,
      sync,
      terms,
    },
    terms,
    learningRate: (updates) =>
      progress.state.learningRate?.value ?? baseRate * schedule(updates - progress.state.stepShift),
    startedEpoch: null,
    startStep: progress.state.step,
    memory,
  };
}

/** Resumes from a checkpoint, checks that all keys of the configuration were read, and claims the output folder. */
async function resumeAndClaim(run: TrainRun, sources: CheckpointSources, progress: RunProgress): Promise<void> {
  const resumedFrom = await resume(run, sources, progress);
  run.checkUnusedKeys();
  await run.claimOutput?.();
  if (resumedFrom !== null && run.outputFolder !== null)
    await run.checkpoints.continueFrom(resumedFrom, run.outputFolder, run.warn);
}

function warnAboutPastEnd({ warn }: TrainRun, { state, totalSteps }: RunProgress): void {
  if (state.step > totalSteps)
    warn(
      `The checkpoint was written after step ${state.step}, and this run has only ${totalSteps} steps: ` +
        'no step follows.',
    );
}

/** Checks the files of the base model that the result will contain. @throws `FILE_UNREADABLE` if one is not its own */
async function checkCopiedFiles({ config, loaded, stage, outputFolder }: TrainRun, owner: Attachment): Promise<void> {
  const { folder } = loaded.model;
  if (folder === null || outputFolder === null) return;
  // A stage may merge its adapter into the model, and write that.
  if (owner.exportAdapter === undefined || stage !== undefined)
    await checkCompanions(folder, { templates: config.chatTemplatePath === null });
  else await checkOwnFile(folder, 'generation_config.json');
}

/**
 * Calls `onRunStart`. If configured, evaluates before the first step. A resumed run does what it owed when it was
 * interrupted.
 */
async function start(loop: Training): Promise<void> {
  const { run, progress } = loop;
  run.hooks.step = progress.state.step;
  await run.hooks.onRunStart({ ...runInfo(loop), loaded: run.loaded });
  await agreeOnRequests(run, progress, 'the requests at the start');
  await interruptIfRequested(loop);
  const { owed, step } = progress.state;
  // Callbacks' requests of an ended epoch wait for the next step, as they do without an interruption.
  if (owed.evaluate || owed.save) await (owed.epochEnd === null ? settle(loop) : settleAtStep(loop));
  else if (run.config.training.evalStrategy === 'ends' && step === 0) await evaluateRun(loop);
  else return;
  await rollBackIfRequested(loop);
  await interruptIfRequested(loop);
}

/** Trains to the end of an epoch or of the run, or to a rollback. */
async function* trainEpoch(loop: Training): AsyncGenerator<StepReport, void, void> {
  const { run, data, progress, rollbacks } = loop;
  const { step: stepsBefore, epoch, batchesConsumed, consumed, leftOut } = progress.state;
  const size = run.config.training.gradientAccumulationSteps;
  await startEpoch(loop);
  let isComplete = true;
  let started = run.clock.now();
  for await (const window of accumulationWindows(data, epoch, { skip: batchesConsumed, leftOut, size, consumed })) {
    await rollbacks.beforeStep(window);
    const report = await makeStep(loop, window, started);
    await atStepBoundary(loop);
    yield report;
    // Lets timers and signals run between steps.
    await setImmediate();
    if (await rollBackIfRequested(loop)) return;
    await interruptIfRequested(loop);
    isComplete = continues(loop);
    if (!isComplete) break;
    started = run.clock.now();
  }
  if (progress.state.step === stepsBefore && batchesConsumed === 0 && leftOut.every((range) => range.epoch !== epoch))
    throw new WhetstoneError('DATA_EMPTY', `Epoch ${epoch} of the training data did not yield a batch.`);
  if (isComplete || progress.state.batchesConsumed >= data.batchesPerEpoch)
    progress.change({ epoch: epoch + 1, batchesConsumed: 0, consumed: [] });
  await endEpoch(loop, epoch);
}

/** Calls `onEpochStart`, unless the run continues in the middle of the epoch. */
async function startEpoch(loop: Training): Promise<void> {
  const { run, progress, startedEpoch } = loop;
  const { epoch, batchesConsumed, consumed } = progress.state;
  if (batchesConsumed > 0 || consumed.length > 0 || startedEpoch === epoch) return;
  loop.startedEpoch = epoch;
  await run.hooks.onEpochStart(epoch);
  await agreeOnRequests(run, progress, `the requests at the start of epoch ${epoch}`);
}

/**
 * Rolls the run back if a callback requested it. The states of the callbacks are then those after `onEpochStart` of the
 * restored epoch. Returns whether it did.
 */
async function rollBackIfRequested(loop: Training): Promise<boolean> {
  if (!(await loop.rollbacks.performIfRequested())) return false;
  loop.startedEpoch = loop.progress.state.epoch;
  return true;
}

/** Calls `onEpochEnd`, evaluates and saves. */
async function endEpoch(loop: Training, epoch: number): Promise<void> {
  const { run, progress } = loop;
  const { evalStrategy, saveStrategy } = run.config.training;
  await run.hooks.onEpochEnd(epoch);
  progress.owe({ epochEnd: null, evaluate: evalStrategy === 'epoch', save: saveStrategy === 'epoch' });
  await settle(loop);
  if (await rollBackIfRequested(loop)) return;
  await interruptIfRequested(loop);
}

/** Ends the epoch of a run that was interrupted after its last step, and then resumed. */
async function endOwedEpoch(loop: Training): Promise<void> {
  const { data, progress } = loop;
  const { batchesConsumed, owed } = progress.state;
  if (owed.epochEnd === null) return;
  if (batchesConsumed >= data.batchesPerEpoch)
    progress.change({ epoch: owed.epochEnd + 1, batchesConsumed: 0, consumed: [] });
  await endEpoch(loop, owed.epochEnd);
}

/** Makes one optimizer step and calls the hooks before and after it. */
async function makeStep(loop: Training, window: StepBatches, started: number): Promise<StepReport> {
  const { run, data, progress, rollbacks } = loop;
  const { step, learningRate: setRate } = progress.state;
  run.hooks.step = step + 1;
  await run.hooks.onStepStart(step + 1);
  const outcome = await computing(
    () => `Step ${step + 1} (${window.batches.map(({ rows, length }) => `${rows} × ${length}`).join(' + ')} tokens)`,
    () => trainStep(loop.step, window.batches, step, loop.learningRate(step)),
  );
  const seconds = run.clock.now() - started;
  const report: StepReport = {
    ...outcome,
    ...(setRate === null ? {} : { learningRateReason: setRate.reason }),
    ...rollbacks.takeNotice(),
    totalSteps: progress.totalSteps,
    epoch: window.epoch + window.end / data.batchesPerEpoch,
    seconds,
    metrics: withAllReduceShare(outcome.metrics, seconds),
    ...stageOf(run),
  };
  progress.countStep(report, window.end);
  run.noteStatus?.({ position: { step: step + 1, totalSteps: progress.totalSteps, ...stageOf(run) } });
  await run.hooks.onStep(report);
  return report;
}

/** Evaluates after the last step, if configured. */
async function evaluateAtEnd(loop: Training): Promise<void> {
  const { run, progress } = loop;
  const { state } = progress;
  if (run.config.training.evalStrategy !== 'no' && state.lastEvaluation?.step !== state.step) await evaluateRun(loop);
}

/** Saves the last checkpoint, puts the best or the evaluation weights into the model, and exports the result. */
async function finish(loop: Training): Promise<RunReport> {
  const { run, attachments, progress, checkpoints, evaluationWeights, origin } = loop;
  const { config, hooks, outputFolder, stage, workers } = run;
  const owner = attachments[0].instance;
  const { best } = progress.state;
  loop.terms.finish();
  // Its measurement can be interrupted: the last weights must be saved before those replace them.
  const isUnmeasured = best !== null && best.loss === null && run.evalData !== null;
  if (config.training.saveStrategy !== 'no' || isUnmeasured) await checkpoints.save();
  await interruptIfRequested(loop);
  if (!(await checkpoints.restoreBest())) await evaluationWeights.keepInModel();
  else if (isUnmeasured) {
    progress.setFinalLoss((await measure(run, progress))?.loss ?? null);
    await interruptIfRequested(loop);
  } else progress.setFinalLoss(best?.loss ?? null);
  if (outputFolder !== null)
    await exportResult(stage?.resultFolder ?? outputFolder, run.loaded, owner, config.chatTemplatePath, origin);
  await stage?.exportState?.(owner);
  const report = progress.report(hooks.requests.stopReason);
  await hooks.onRunEnd(report);
  // No worker may report success before all files are written.
  await barrier(workers, 'the end');
  return report;
}

/** Resumes from a checkpoint, if configured and if there is one. Returns it, or null. */
async function resume(run: TrainRun, sources: CheckpointSources, progress: RunProgress): Promise<string | null> {
  const {
    outputFolder,
    workers,
    config: {
      output,
      training: { resumeFromCheckpoint: requested },
    },
  } = run;
  await run.lockOutput?.();
  if (outputFolder !== null) await run.checkpoints.clean(outputFolder);
  if (requested === null || requested === false) return null;
  await barrier(workers, 'the checkpoint to resume from');
  const warn = (message: string): void => run.warn(message);
  const folder = await run.checkpoints.find(requested, output.folder, warn);
  await verifySameCheckpoint(workers, folder);
  if (folder === null) {
    run.warn('A checkpoint to resume from was not found: the run starts at the beginning.');
    return null;
  }
  const state = await run.checkpoints.load(folder, sources, warn);
  const { requests } = state.owed;
  progress.change({ ...state, owed: { ...state.owed, requests: null } });
  if (requests !== null) run.hooks.requests.merge(stillRequested(run, requests));
  run.logger.info(`Resumed after step ${progress.state.step}.`, { checkpoint: folder });
  return folder;
}

/** Returns the requests that a checkpoint contains, without a stop despite which the run is to continue. */
function stillRequested({ config, warn }: TrainRun, requests: PendingRequests): PendingRequests {
  if (requests.stop === null) return requests;
  if (config.training.resumeDespite.includes('stop')) return { ...requests, stop: null };
  warn(
    `A callback stopped the run before this checkpoint (${requests.stop}), so it ends without another step. To train ` +
      'on, set training.resumeDespite to ["stop"].',
  );
  return requests;
}

/** Checks that all workers found the same checkpoint. Every worker reads it from the output folder. */
async function verifySameCheckpoint(workers: TrainRun['workers'], folder: string | null): Promise<void> {
  const found = await workers.gather('the checkpoint that was found', folder === null ? null : basename(folder));
  const other = found.findIndex((name) => name !== found[0]);
  if (other < 0) return;
  throw new WhetstoneError(
    'CHECKPOINT_INVALID',
    `Worker ${other} did not find the checkpoint from which worker 0 resumes.`,
    {
      expected: found[0] ?? 'none',
      found: found[other] ?? 'none',
      hint: 'All workers need access to the output folder, for example on a network drive.',
    },
  );
}

/**
 * Evaluates and saves after a step, if due or requested. Evaluates first, so that the checkpoint contains the result.
 * Ends early if a callback requests a rollback.
 */
async function atStepBoundary(loop: Training): Promise<void> {
  const { run, plan, progress } = loop;
  const {
    config: { training },
    hooks: { requests },
  } = run;
  const { step } = progress.state;
  await agreeOnRequests(run, progress, `the requests after step ${step}`);
  if (requests.rollbackReason !== null) return;
  const evaluateDue = training.evalStrategy === 'steps' && step % plan.evalSteps === 0;
  // The last step's checkpoint is written once, after the last evaluation.
  const saveDue = training.saveStrategy === 'steps' && step % plan.saveSteps === 0 && step < progress.totalSteps;
  progress.owe({ evaluate: requests.takeEvaluate() || evaluateDue, save: saveDue });
  await settleAtStep(loop);
}

/** Does what the run owes, and saves if a callback requested it. */
async function settleAtStep(loop: Training): Promise<void> {
  if ((await settle(loop)) && loop.run.hooks.requests.takeSave()) await loop.checkpoints.save();
}

/**
 * Evaluates and saves, if the run owes it. Returns false without saving if the evaluation was interrupted, so that it
 * stays owed, or if a callback requested a rollback.
 */
async function settle(loop: Training): Promise<boolean> {
  const { run, progress, checkpoints } = loop;
  if (run.evalData === null) progress.owe({ evaluate: false });
  if (progress.state.owed.evaluate) await evaluateRun(loop);
  if (progress.state.owed.evaluate || run.hooks.requests.rollbackReason !== null) return false;
  await checkpoints.storeMarked();
  if (progress.state.owed.save) await checkpoints.save();
  return true;
}

/** Adds `allReduceShare`, the share of the step's time in which the worker only waited for the all-reduce. */
function withAllReduceShare(
  metrics: Readonly<Record<string, number>>,
  seconds: number,
): Readonly<Record<string, number>> {
  const { allReduceWaitSeconds } = metrics;
  return allReduceWaitSeconds === undefined || seconds <= 0
    ? metrics
    : { ...metrics, allReduceShare: allReduceWaitSeconds / seconds };
}

/**
 * Ends an aborted run after saving a checkpoint, and saves a checkpoint if the application requested one. With several
 * workers, all stop if any of them was aborted or asked to stop.
 */
async function interruptIfRequested(loop: Training): Promise<void> {
  const { run, progress, checkpoints } = loop;
  const { step } = progress.state;
  const { hooks, signal, workers } = run;
  const allRequests = await workers.gather(`whether to continue after step ${step}`, {
    interrupted: signal.aborted,
    stopReason: hooks.requests.stopReason,
    saves: run.saves?.requested ?? 0,
  });
  for (const { stopReason } of allRequests) hooks.requests.mergeStop(stopReason);
  if (!allRequests.some(({ interrupted }) => interrupted))
    return saveIfRequested(loop, Math.max(...allRequests.map(({ saves }) => saves)));
  const checkpoint = step === 0 ? null : await checkpoints.save();
  await barrier(workers, 'the last checkpoint');
  throw new WhetstoneError(
    'INTERRUPTED',
    `The run was interrupted after step ${step}${run.stage === undefined ? '' : ` of stage '${run.stage.name}'`}.`,
    {
      details: { ...stageOf(run), step, checkpoint },
      hint: interruptHint(run, checkpoint),
      cause: run.signal.reason,
    },
  );
}

function interruptHint({ stage, config }: TrainRun, checkpoint: string | null): string {
  const resume = 'Resume with training.resumeFromCheckpoint = true';
  if (checkpoint !== null) return `The state of the run is in ${checkpoint}. ${resume}.`;
  const isFirst = stage === undefined || stage.index === 0;
  if (isFirst || config.output.folder === null) return 'Nothing was saved.';
  return `Nothing of this stage was saved; the stages before it are complete. ${resume} to start it again.`;
}

/**
 * Saves a checkpoint if the application made more requests than are fulfilled. A signal that reaches the workers of a
 * run one after another counts once.
 */
async function saveIfRequested({ run, progress, checkpoints, startStep }: Training, requested: number): Promise<void> {
  const { saves, config, warn } = run;
  // Before the first step there is nothing to save: the request stays.
  if (saves === undefined || requested <= saves.fulfilled || progress.state.step === startStep) return;
  saves.fulfilled = requested;
  if (config.output.folder === null) warn('A checkpoint was requested, but the run has no output folder.');
  else await checkpoints.save();
}

interface ParameterCounts {
  readonly trainable: number;
  readonly total: number;
}

function countParameters({ loaded: { model } }: TrainRun, owner: Attachment): ParameterCounts {
  const sizeOf = (parameters: Iterable<{ readonly size: number }>): number =>
    Array.from(parameters, ({ size }) => size).reduce((sum, size) => sum + size, 0);
  const stored = new Set(model.parameters.values());
  const added = [...owner.trainable.values()].filter((parameter) => !stored.has(parameter));
  return { trainable: sizeOf(owner.trainable.values()), total: sizeOf(stored) + sizeOf(added) };
}

function runInfo({ run, attachments, plan, progress }: Training): RunInfo {
  const { stage } = run;
  const counts = countParameters(run, attachments[0].instance);
  return {
    ...(stage === undefined ? {} : { stage: { name: stage.name, index: stage.index, count: stage.count } }),
    totalSteps: progress.totalSteps,
    epochs: plan.epochs,
    startStep: progress.state.step,
    outputFolder: run.outputFolder,
    backend: run.backend.backend,
    engine: run.backend.engine,
    workers: run.workers.count,
    trainableParameters: counts.trainable,
    totalParameters: counts.total,
  };
}
