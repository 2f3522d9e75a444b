import { basename } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { CheckpointSources } from '../checkpoint/index.js';
import { WhetstoneError } from '../contract/errors.js';
import type { RunInfo } from '../contract/callback.js';
import type { Attachment } from '../contract/strategy.js';
import type { StepReport } from '../contract/report.js';
import { attachStrategies, wrapData } from './attach.js';
import { exportResult } from './export-result.js';
import { planSteps, type StepPlan } from './step-plan.js';
import { createProgress, type RunProgress } from './progress.js';
import { stageOf, type RunTraining, type TrainRun } from './train-run.js';
import { trainStep, type StepServices } from './train-step.js';
import { barrier, createStepSync } from '../distributed/step-sync.js';
import { accumulationWindows } from './gradient-accumulation.js';

/**
 * Executes a run: attaches the strategies, resumes, evaluates, trains the epochs, saves checkpoints, restores the best
 * weights, and exports the result. Requests of callbacks are executed between steps.
 *
 * @throws `INTERRUPTED` after saving a checkpoint, if the signal was aborted
 * @throws errors of steps, hooks, data and files
 */
export const runTraining: RunTraining = async function* (run) {
  const {
    config: { training },
    hooks,
    outputFolder,
    workers,
  } = run;
  const initialPlan = planSteps(training, run.trainData.batchesPerEpoch);
  const attached = await attachStrategies(run, {
    seed: run.random.seed,
    totalSteps: initialPlan.totalSteps,
    modelFolder: run.stage?.modelFolder ?? run.loaded.model.folder,
    ...(run.openData === undefined ? {} : { openData: run.openData }),
    worker: { rank: workers.rank, count: workers.count },
  });
  try {
    const owner = attached.all[0].instance;
    const data = wrapData(run.trainData, attached.all);
    const plan = planSteps(training, data.batchesPerEpoch);
    const learningRate = run.config.optimizer.learningRate;
    const schedule = run.schedule.instance({ totalSteps: plan.totalSteps, learningRate });
    const counts = countParameters(run, owner);
    const sources: CheckpointSources = { ...run, attachments: attached.all, dataHash: data.summary.contentHash };
    const sync = createStepSync(workers);
    const stepServices: StepServices = {
      model: run.loaded.model,
      owner,
      companions: attached.all.slice(1).map(({ instance }) => instance),
      hooks,
      optimizer: run.optimizer.instance,
      backend: run.backend,
      sync,
    };
    const progress = createProgress(run, sources, plan, data.batchesPerEpoch, counts.total);
    await resume(run, sources, progress);
    run.checkUnusedKeys();
    await run.claimOutput?.();
    await sync.broadcastParameters(owner, run.backend);
    hooks.step = progress.state.step;
    await hooks.onRunStart({ ...runInfo(run, plan, progress, counts), loaded: run.loaded });
    await interruptIfRequested(run, progress);
    if (training.evalStrategy === 'ends' && progress.state.step === 0) await progress.evaluate();

    while (progress.state.step < plan.totalSteps && hooks.requests.stopReason === null) {
      const { epoch } = progress.state;
      const stepsBefore = progress.state.step;
      const startsMidEpoch = progress.state.batchesConsumed > 0;
      if (!startsMidEpoch) await hooks.onEpochStart(epoch);
      let isComplete = true;
      let started = run.clock.now();
      for await (const window of accumulationWindows(
        data,
        epoch,
        progress.state.batchesConsumed,
        training.gradientAccumulationSteps,
      )) {
        const { step } = progress.state;
        hooks.step = step + 1;
        await hooks.onStepStart(step + 1);
        const outcome = await trainStep(stepServices, window, step, learningRate * schedule(step));
        const seconds = run.clock.now() - started;
        const epochsDone = epoch + (progress.state.batchesConsumed + window.length) / data.batchesPerEpoch;
        const report: StepReport = {
          ...outcome,
          totalSteps: plan.totalSteps,
          epoch: epochsDone,
          seconds,
          metrics: withAllReduceShare(outcome.metrics, seconds),
          ...stageOf(run),
        };
        progress.countStep(report);
        await hooks.onStep(report);
        await atStepBoundary(run, plan, progress);
        yield report;
        // Lets timers and signals run between steps.
        await setImmediate();
        await interruptIfRequested(run, progress);
        isComplete = progress.state.step < plan.totalSteps && hooks.requests.stopReason === null;
        if (!isComplete) break;
        started = run.clock.now();
      }
      if (progress.state.step === stepsBefore && !startsMidEpoch)
        throw new WhetstoneError('DATA_EMPTY', `Epoch ${epoch} of the training data did not yield a batch.`);
      if (isComplete || progress.state.batchesConsumed >= data.batchesPerEpoch)
        progress.change({ epoch: epoch + 1, batchesConsumed: 0 });
      await hooks.onEpochEnd(epoch);
      if (training.evalStrategy === 'epoch') await progress.evaluate();
      if (training.saveStrategy === 'epoch') await progress.save();
      await interruptIfRequested(run, progress);
    }

    const { state } = progress;
    if (training.evalStrategy !== 'no' && state.lastEvaluation?.step !== state.step) await progress.evaluate();
    if (training.saveStrategy !== 'no') await progress.save();
    await interruptIfRequested(run, progress);
    await progress.restoreBest();
    if (outputFolder !== null)
      await exportResult(run.stage?.resultFolder ?? outputFolder, run.loaded, owner, run.config.chatTemplatePath);
    await run.stage?.exportState?.(owner);
    const report = progress.report(hooks.requests.stopReason);
    await hooks.onRunEnd(report);
    // No worker may report success before all files are written.
    await barrier(workers, 'the end');
    return report;
  } finally {
    attached.dispose();
  }
};

/** Resumes from a checkpoint, if configured and if there is one. */
async function resume(run: TrainRun, sources: CheckpointSources, progress: RunProgress): Promise<void> {
  const {
    outputFolder,
    workers,
    config: {
      output,
      training: { resumeFromCheckpoint: requested },
    },
  } = run;
  if (outputFolder !== null) await run.checkpoints.clean(outputFolder);
  if (requested === null || requested === false) return;
  await barrier(workers, 'the checkpoint to resume from');
  const warn = (message: string): void => run.warn(message);
  const folder = await run.checkpoints.find(requested, workers.rank === 0 ? outputFolder : output.folder, warn);
  await verifySameCheckpoint(workers, folder);
  if (folder === null) {
    run.warn('There is no checkpoint to resume from: the run starts at the beginning.');
    return;
  }
  progress.change(await run.checkpoints.load(folder, sources, warn));
  run.logger.info(`Resumed after step ${progress.state.step}.`, { checkpoint: folder });
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
 */
async function atStepBoundary(run: TrainRun, plan: StepPlan, progress: RunProgress): Promise<void> {
  const {
    config: { training },
    hooks: { requests },
    workers,
  } = run;
  const { step } = progress.state;
  const allRequests = await workers.gather(`the requests after step ${step}`, {
    evaluate: requests.takeEvaluate(),
    save: requests.takeSave(),
    markBest: requests.takeMarkBest(),
  });
  requests.mergeRequests({
    evaluate: allRequests.some(({ evaluate }) => evaluate),
    save: allRequests.some(({ save }) => save),
    markBest: allRequests.some(({ markBest }) => markBest),
  });
  const evaluateDue = training.evalStrategy === 'steps' && step % plan.evalSteps === 0;
  if (requests.takeEvaluate() || evaluateDue) await progress.evaluate();
  await progress.storeMarked();
  // The last step's checkpoint is written once, after the last evaluation.
  const saveDue = training.saveStrategy === 'steps' && step % plan.saveSteps === 0 && step < plan.totalSteps;
  if (requests.takeSave() || saveDue) await progress.save();
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
 * Ends an aborted run after saving a checkpoint. With several workers, all stop if any of them was aborted or asked to
 * stop.
 */
async function interruptIfRequested(run: TrainRun, progress: RunProgress): Promise<void> {
  const { step } = progress.state;
  const { hooks, signal, workers } = run;
  const allRequests = await workers.gather(`whether to continue after step ${step}`, {
    interrupted: signal.aborted,
    stopReason: hooks.requests.stopReason,
  });
  hooks.requests.mergeRequests({
    stopReason: allRequests.find((each) => each.stopReason !== null)?.stopReason ?? null,
  });
  if (!allRequests.some(({ interrupted }) => interrupted)) return;
  const checkpoint = step === 0 ? null : await progress.save();
  await barrier(workers, 'the last checkpoint');
  throw new WhetstoneError(
    'INTERRUPTED',
    `The run was interrupted after step ${step}${run.stage === undefined ? '' : ` of stage '${run.stage.name}'`}.`,
    {
      details: { ...stageOf(run), step, checkpoint },
      hint:
        checkpoint === null
          ? 'Nothing was saved.'
          : `The state of the run is in ${checkpoint}. Resume with training.resumeFromCheckpoint = true.`,
      cause: run.signal.reason,
    },
  );
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

function runInfo(run: TrainRun, plan: StepPlan, progress: RunProgress, counts: ParameterCounts): RunInfo {
  const { stage } = run;
  return {
    ...(stage === undefined ? {} : { stage: { name: stage.name, index: stage.index, count: stage.count } }),
    totalSteps: plan.totalSteps,
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
