import type { ConfigResolution } from '../../config/index.js';
import { isObject, valueAt } from '../../config/slots.js';
import type { RunOutline, UnusedOption } from '../../contract/index.js';
import { backendOptions, dataOptions, output, training as trainingSchema } from '../../config/frame-schema.js';
import { mayRequest, type HookedCallback } from '../../hooks/index.js';
import type { StepPlan } from '../../training/step-plan.js';
import type { TrainRun } from '../../training/train-run.js';

/** What decides whether a setting is used, besides the settings themselves. */
interface SettingsOfRun {
  readonly resolution: ConfigResolution;
  readonly evalData: TrainRun['evalData'];
  readonly callbacks: readonly HookedCallback[];
  readonly workers: number;
  readonly batchesPerEpoch: number;
}

/** A setting, and why it is not used; null if it is used. Its default is reported only with `'any value'`. */
type Check = readonly [path: readonly [section: string, key: string], reason: string | null, values?: 'any value'];

const when = (isUnused: boolean, reason: string): string | null => (isUnused ? reason : null);

/** The default of each setting. */
const defaults: unknown = {
  training: trainingSchema.properties,
  data: dataOptions,
  output: output.properties,
  backend: backendOptions,
};

/**
 * Returns the settings of the frame that the user wrote and that other settings, the data or the number of steps make
 * ineffective.
 */
export function unusedSettings(run: SettingsOfRun, plan: StepPlan, outline: RunOutline): readonly UnusedOption[] {
  const { config, wasWritten } = run.resolution;
  const written = (options: readonly UnusedOption[]): readonly UnusedOption[] =>
    options.filter(({ path }) => wasWritten(path.split('.')));
  const checks = [
    ...lengthChecks(run, plan),
    ...evaluationChecks(run, plan, outline),
    ...checkpointChecks(run, plan, outline),
    ...processChecks(run),
    ...batchChecks(run, plan),
  ];
  const unused = checks.flatMap(([path, reason, values]) => {
    const schema = valueAt(defaults, path);
    const isDefault = values === undefined && isObject(schema) && schema['default'] === valueAt(config, path);
    return reason === null || isDefault || !wasWritten(path) ? [] : [{ path: path.join('.'), reason }];
  });
  return [...unused, ...written(unevaluated(run, outline)), ...written(tooLarge(run, plan))];
}

/** Returns the options of evaluations that a run with evaluation data never makes. */
function unevaluated({ resolution, evalData }: SettingsOfRun, { evaluates }: RunOutline): readonly UnusedOption[] {
  if (evalData === null || evaluates) return [];
  const reason = 'training.evalStrategy is "no" and no callback requests an evaluation';
  const isCompared = resolution.config.data.leakage !== 'off';
  return [
    { path: 'data.eval', reason, ...(isCompared ? { effect: 'is only compared with the training data' } : {}) },
    { path: 'data.evalShare', reason, effect: 'only removes conversations from the training data' },
    ...(resolution.config.evaluation.metrics.length > 0 ? [{ path: 'evaluation.metrics', reason }] : []),
    { path: 'training.perDeviceEvalBatchSize', reason },
  ];
}

/** Returns the numbers of batches and epochs that exceed those of the run. */
function tooLarge({ resolution, batchesPerEpoch }: SettingsOfRun, { epochs }: StepPlan): readonly UnusedOption[] {
  const { training, data } = resolution.config;
  const effect = 'is too large';
  const accumulated = training.gradientAccumulationSteps;
  return [
    ...(accumulated > batchesPerEpoch
      ? [{ path: 'training.gradientAccumulationSteps', effect, reason: `an epoch has only ${batchesPerEpoch} batches` }]
      : []),
    ...(data.curriculum !== null && data.curriculum.epochs > epochs
      ? [{ path: 'data.curriculum.epochs', effect, reason: `the run has only ${epochs}` }]
      : []),
  ];
}

const beyond = (steps: number, totalSteps: number): string | null =>
  when(steps > totalSteps, `the run has only ${totalSteps} ${totalSteps === 1 ? 'step' : 'steps'}`);

function lengthChecks({ resolution }: SettingsOfRun, { totalSteps, loggingSteps }: StepPlan): readonly Check[] {
  const { training } = resolution.config;
  return [
    [
      ['training', 'numTrainEpochs'],
      when(training.maxSteps > 0, `training.maxSteps (${training.maxSteps}) decides the length`),
      'any value',
    ],
    [['training', 'maxSteps'], when(training.maxSteps === 0, 'training.numTrainEpochs decides the length')],
    [['training', 'loggingSteps'], beyond(loggingSteps, totalSteps)],
  ];
}

function evaluationChecks(
  { resolution, evalData }: SettingsOfRun,
  { totalSteps, evalSteps }: StepPlan,
  { evaluations }: RunOutline,
): readonly Check[] {
  const { training } = resolution.config;
  const withoutData = when(evalData === null, 'the run has no evaluation data');
  return [
    [['training', 'evalSteps'], training.evalStrategy === 'steps' ? beyond(evalSteps, totalSteps) : null],
    [
      ['training', 'loadBestModelAtEnd'],
      when(
        training.loadBestModelAtEnd && evaluations === 1,
        'the only evaluation is after the last step, so the last weights are the best',
      ),
    ],
    [['training', 'perDeviceEvalBatchSize'], withoutData],
    [['data', 'leakage'], withoutData],
  ];
}

/**
 * Returns the number of checkpoints that a run writes at most, unless it is interrupted or asked for more by a signal.
 * Null if callbacks or earlier checkpoints decide it.
 */
function plannedCheckpoints(
  { resolution, callbacks }: SettingsOfRun,
  { totalSteps, stepsPerEpoch, saveSteps }: StepPlan,
  { evaluations }: RunOutline,
): number | null {
  const { saveStrategy, loadBestModelAtEnd, resumeFromCheckpoint } = resolution.config.training;
  const requested = (['save', 'markBest'] as const).some((request) =>
    callbacks.some(({ callback }) => mayRequest(callback, request)),
  );
  const best = loadBestModelAtEnd ? evaluations : 0;
  if (requested || best === null || resumeFromCheckpoint !== null) return null;
  const planned = {
    no: 0,
    end: 1,
    epoch: Math.ceil(totalSteps / stepsPerEpoch),
    steps: Math.floor((totalSteps - 1) / saveSteps) + 1,
  }[saveStrategy];
  return planned + best;
}

function checkpointChecks(run: SettingsOfRun, plan: StepPlan, outline: RunOutline): readonly Check[] {
  const { resolution, callbacks } = run;
  const { training, output: written } = resolution.config;
  const checkpoints = plannedCheckpoints(run, plan, outline);
  const noFolder = when(written.folder === null, 'output.folder is null, so the run writes nothing');
  const saves = training.saveStrategy;
  return [
    [['training', 'saveStrategy'], saves === 'no' ? null : noFolder],
    [
      ['training', 'saveSteps'],
      noFolder ?? (saves === 'steps' ? beyond(plan.saveSteps, plan.totalSteps) : null),
      'any value',
    ],
    [
      ['training', 'saveTotalLimit'],
      when(saves === 'no', 'training.saveStrategy is "no"') ??
        noFolder ??
        when(
          checkpoints !== null && training.saveTotalLimit !== null && checkpoints <= training.saveTotalLimit,
          `the run writes at most ${checkpoints} checkpoint${checkpoints === 1 ? '' : 's'}`,
        ),
    ],
    [['output', 'overwrite'], noFolder],
    [
      ['training', 'resumeDespite'],
      when(
        training.resumeDespite.length > 0 && training.resumeFromCheckpoint === null,
        'training.resumeFromCheckpoint is not set',
      ),
    ],
    [
      ['training', 'maxRollbacks'],
      when(
        callbacks.every(({ callback }) => callback.rollsBack !== true),
        'no callback can roll the run back',
      ),
    ],
  ];
}

/** The names of backends whose number of threads can be set. */
const withThreads: readonly string[] = ['auto', 'whetstone', 'xla'];

/** The names of backends that can multiply in bfloat16. */
const withBfloat16: readonly string[] = ['auto', 'whetstone', 'xla'];

function processChecks({ workers, resolution }: SettingsOfRun): readonly Check[] {
  const { name } = resolution.config.backend;
  const single = when(workers === 1, 'a single process trains');
  return [
    [
      ['backend', 'matmul'],
      when(!withBfloat16.includes(name), `the backend ${name} multiplies matrices in float32 only`),
    ],
    [['backend', 'threads'], when(!withThreads.includes(name), `the backend ${name} has a fixed number of threads`)],
    [['training', 'ddpTimeout'], single],
    [['training', 'ddpBucketCapMb'], single],
  ];
}

function batchChecks({ resolution }: SettingsOfRun, { epochs }: StepPlan): readonly Check[] {
  const { data, companions } = resolution.config;
  const isSplit = data.packing && data.packingStrategy !== 'bfd';
  return [
    [['data', 'packingStrategy'], when(!data.packing, 'data.packing is false')],
    [
      ['data', 'truncationMode'],
      when(data.maxLength === null, 'data.maxLength is null, so nothing is truncated') ??
        when(isSplit, `the packing strategy "${data.packingStrategy}" splits long conversations`),
    ],
    [
      ['data', 'rolesToTrain'],
      when(!data.assistantOnlyLoss, 'data.assistantOnlyLoss is false, so every role is supervised'),
    ],
    [
      ['training', 'perDeviceTrainBatchSize'],
      when(data.tokensPerBatch !== null, 'data.tokensPerBatch decides the size of a batch'),
    ],
    [
      ['data', 'trainSamplingStrategy'],
      when(
        data.curriculum !== null && data.curriculum.epochs >= epochs,
        `data.curriculum orders all ${epochs} epochs of the run`,
      ),
    ],
    [
      ['training', 'dataSeed'],
      when(
        data.trainSamplingStrategy === 'sequential' &&
          !data.shuffleDataset &&
          [data.evalShare, data.balance].every((option) => option === null) &&
          companions.length === 0,
        'the order of the data is not random',
      ),
    ],
    [['data', 'padToMultipleOf'], when(data.padToMultipleOf === 1, 'every length is a multiple of 1')],
  ];
}
