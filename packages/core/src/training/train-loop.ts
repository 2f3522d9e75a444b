import { basename } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import type { CheckpointParts } from '../checkpoint/index.js';
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
import { singleWorker } from '../distributed/single-worker.js';
import type { Workers } from '../contract/workers.js';
import { barrier, broadcastParameters } from '../distributed/step-sync.js';
import { accumulationWindows } from './gradient-accumulation.js';

/**
 * A whole run: attach, resume, evaluate, epochs of steps, checkpoints, the best weights, the result. Callbacks are told
 * and asked; what they ask for is granted between steps.
 *
 * @throws `INTERRUPTED` after a checkpoint where the signal was aborted, and what steps, hooks, data and files throw.
 */
export const runTraining: RunTraining = async function* (run) {
  const {
    config: { training },
    hooks,
    outputFolder,
    workers = singleWorker,
  } = run;
  const firstPlan = planSteps(training, run.trainData.batchesPerEpoch);
  const attached = await attachStrategies(run, {
    seed: training.seed,
    totalSteps: firstPlan.totalSteps,
    modelFolder: run.stage?.modelFolder ?? run.loaded.model.folder,
    ...(run.openData === undefined ? {} : { openData: run.openData }),
    ...(workers.count === 1 ? {} : { worker: { rank: workers.rank, count: workers.count } }),
  });
  try {
    const owner = attached.all[0].instance;
    const data = wrapData(run.trainData, attached.all);
    const plan = planSteps(training, data.batchesPerEpoch);
    const learningRate = run.config.optimizer.learningRate;
    const schedule = run.schedule.instance({ totalSteps: plan.totalSteps, learningRate });
    const counts = countParameters(run, owner);
    const parts: CheckpointParts = { ...run, attachments: attached.all, dataHash: data.summary.contentHash };
    const stepParts: StepServices = {
      model: run.loaded.model,
      owner,
      companions: attached.all.slice(1).map(({ instance }) => instance),
      hooks,
      optimizer: run.optimizer.instance,
      backend: run.backend,
      workers,
    };
    const progress = createProgress(run, parts, plan, data.batchesPerEpoch, counts.total);
    await resume(run, parts, progress, workers);
    run.checkUnusedKeys();
    await run.claimOutput?.();
    await broadcastParameters(workers, owner, run.backend);
    hooks.step = progress.state.step;
    await hooks.onRunStart({ ...runInfo(run, plan, progress, counts), loaded: run.loaded });
    await interruptIfRequested(run, progress, workers);
    if (training.evalStrategy === 'ends' && progress.state.step === 0) await progress.evaluate();

    while (progress.state.step < plan.totalSteps && hooks.requests.stopReason === null) {
      const { epoch } = progress.state;
      const stepsBefore = progress.state.step;
      const startedInside = progress.state.batchesConsumed > 0;
      if (!startedInside) await hooks.onEpochStart(epoch);
      let isWhole = true;
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
        const outcome = await trainStep(stepParts, window, step, learningRate * schedule(step));
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
        await atStepBoundary(run, plan, progress, workers);
        yield report;
        // Timers and signals are served between steps.
        await setImmediate();
        await interruptIfRequested(run, progress, workers);
        isWhole = progress.state.step < plan.totalSteps && hooks.requests.stopReason === null;
        if (!isWhole) break;
        started = run.clock.now();
      }
      if (progress.state.step === stepsBefore && !startedInside)
        throw new WhetstoneError('DATA_EMPTY', `Epoch ${epoch} of the training data gave no batch.`);
      if (isWhole || progress.state.batchesConsumed >= data.batchesPerEpoch)
        progress.change({ epoch: epoch + 1, batchesConsumed: 0 });
      await hooks.onEpochEnd(epoch);
      if (training.evalStrategy === 'epoch') await progress.evaluate();
      if (training.saveStrategy === 'epoch') await progress.save();
      await interruptIfRequested(run, progress, workers);
    }

    const { state } = progress;
    if (training.evalStrategy !== 'no' && state.lastEvaluation?.step !== state.step) await progress.evaluate();
    if (training.saveStrategy !== 'no') await progress.save();
    await interruptIfRequested(run, progress, workers);
    await progress.restoreBest();
    if (outputFolder !== null)
      await exportResult(run.stage?.resultFolder ?? outputFolder, run.loaded, owner, run.config.chatTemplatePath);
    await run.stage?.exportState?.(owner);
    const report = progress.report(hooks.requests.stopReason);
    await hooks.onRunEnd(report);
    // Nobody ends well before everything is written.
    await barrier(workers, 'the end');
    return report;
  } finally {
    attached.dispose();
  }
};

/** Goes on from a checkpoint, where the configuration says so and there is one. */
async function resume(run: TrainRun, parts: CheckpointParts, progress: RunProgress, workers: Workers): Promise<void> {
  const {
    outputFolder,
    config: {
      output,
      training: { resumeFromCheckpoint: wanted },
    },
  } = run;
  if (outputFolder !== null) await run.checkpoints.clean(outputFolder);
  if (wanted === null || wanted === false) return;
  await barrier(workers, 'the checkpoint to go on from');
  const warn = (message: string): void => run.warn(message);
  const folder = await run.checkpoints.find(wanted, workers.rank === 0 ? outputFolder : output.folder, warn);
  await verifySameCheckpoint(workers, folder);
  if (folder === null) {
    run.warn('There is no checkpoint to resume from: the run starts at the beginning.');
    return;
  }
  progress.change(await run.checkpoints.load(folder, parts, warn));
  run.logger.info(`Resumed after step ${progress.state.step}.`, { checkpoint: folder });
}

/** Every worker reads the checkpoint itself. */
async function verifySameCheckpoint(workers: Workers, folder: string | null): Promise<void> {
  const found = await workers.gather('the checkpoint that was found', folder === null ? null : basename(folder));
  const other = found.findIndex((name) => name !== found[0]);
  if (other < 0) return;
  throw new WhetstoneError(
    'CHECKPOINT_INVALID',
    `Worker ${other} does not find the checkpoint that worker 0 goes on from.`,
    {
      expected: found[0] ?? 'none',
      found: found[other] ?? 'none',
      hint: 'The output folder has to be one that all workers see, as a network drive.',
    },
  );
}

/** What is due or was asked for after a step: evaluation first, so that a checkpoint holds what came of it. */
async function atStepBoundary(run: TrainRun, plan: StepPlan, progress: RunProgress, workers: Workers): Promise<void> {
  const {
    config: { training },
    hooks: { requests },
  } = run;
  const { step } = progress.state;
  if (workers.count > 1) {
    const asked = await workers.gather(`what is due after step ${step}`, {
      evaluate: requests.takeEvaluate(),
      save: requests.takeSave(),
      markBest: requests.takeMarkBest(),
    });
    requests.mergeRequests({
      evaluate: asked.some(({ evaluate }) => evaluate),
      save: asked.some(({ save }) => save),
      markBest: asked.some(({ markBest }) => markBest),
    });
  }
  const evaluateDue = training.evalStrategy === 'steps' && step % plan.evalSteps === 0;
  if (requests.takeEvaluate() || evaluateDue) await progress.evaluate();
  await progress.keepMarked();
  // The last step's checkpoint is written once, after the last evaluation.
  const saveDue = training.saveStrategy === 'steps' && step % plan.saveSteps === 0 && step < plan.totalSteps;
  if (requests.takeSave() || saveDue) await progress.save();
}

/** The time of the all-reduce as a share of the step: what of it nothing else was done in. */
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
 * Ends an aborted run, after a checkpoint of what it has learned. All workers stop where one is to stop, for whatever
 * reason.
 */
async function interruptIfRequested(run: TrainRun, progress: RunProgress, workers: Workers): Promise<void> {
  const { step } = progress.state;
  if (workers.count > 1) {
    const { stopReason } = run.hooks.requests;
    const asked = await workers.gather(`whether to go on after step ${step}`, {
      interrupted: run.signal.aborted,
      stopReason,
    });
    run.hooks.requests.mergeRequests({
      stopReason: asked.find((each) => each.stopReason !== null)?.stopReason ?? null,
    });
    if (!asked.some(({ interrupted }) => interrupted)) return;
  } else if (!run.signal.aborted) return;
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
          : `Everything up to here is in ${checkpoint}; resume with training.resumeFromCheckpoint = true.`,
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
    workers: run.workers?.count ?? 1,
    trainableParameters: counts.trainable,
    totalParameters: counts.total,
  };
}
