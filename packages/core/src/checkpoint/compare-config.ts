import type { Problem } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
import { isRecord, ownValue, sortKeys } from '../util/index.js';

/** The reasons for which a different setting is refused, unless `training.resumeDespite` names them. */
const reasons = ['data', 'seed', 'packing', 'length'] as const;

/**
 * What a different setting means for a resumed run:
 *
 * - `free`: nothing that was trained depends on it.
 * - `reported`: it applies from here on.
 * - `best`: it decides which weights are the best, so that those of before cannot be compared with later ones.
 * - `inexact`: the run continues at the same sample, but its numbers differ from those of an uninterrupted run.
 * - A reason: the run would train on other samples or repeat some, so it is refused unless it is allowed.
 * - `tensors`: it decides which tensors there are or what they mean, so it is always refused.
 */
type Rule = 'free' | 'reported' | 'best' | 'inexact' | 'tensors' | (typeof reasons)[number];

/**
 * The rules of settings by their path; the longest path that contains a setting applies. Others are free. A test checks
 * that every setting of `data`, `training` and `evaluation` has one.
 */
export const rules: Readonly<Record<string, Rule>> = {
  strategy: 'tensors',
  // The name of the plugin decides, so that it can be loaded from another place.
  'strategy.use': 'free',
  'model.addTokens': 'tensors',
  'model.options': 'tensors',
  'model.dtype': 'inexact',
  backend: 'inexact',
  'training.perDeviceTrainBatchSize': 'inexact',
  'training.gradientAccumulationSteps': 'inexact',
  'data.tokensPerBatch': 'inexact',
  'data.padToMultipleOf': 'inexact',
  'data.paddingFree': 'inexact',
  'training.seed': 'seed',
  'training.dataSeed': 'seed',
  'data.packing': 'packing',
  'data.packingStrategy': 'packing',
  'data.maxLength': 'length',
  'data.truncationMode': 'length',
  'data.assistantOnlyLoss': 'data',
  'data.completionOnlyLoss': 'data',
  'data.rolesToTrain': 'data',
  'data.lastTurnOnly': 'data',
  'data.roleWeights': 'data',
  'data.shuffleDataset': 'data',
  'data.trainSamplingStrategy': 'data',
  'data.balance': 'data',
  'data.curriculum': 'data',
  'data.evalShare': 'data',
  // The hash of the data decides, so that the same data can be read from another place.
  'data.train': 'free',
  'data.transforms': 'free',
  'data.unreadableRows': 'free',
  'data.samplesWithoutTargets': 'free',
  'data.eval': 'free',
  'data.supervisionProof': 'free',
  'data.leakage': 'free',
  'data.qualityGate': 'free',
  'data.workers': 'free',
  evaluation: 'best',
  'training.numTrainEpochs': 'free',
  'training.maxSteps': 'free',
  'training.perDeviceEvalBatchSize': 'free',
  'training.loggingSteps': 'free',
  'training.evalStrategy': 'free',
  'training.evalSteps': 'free',
  'training.saveStrategy': 'free',
  'training.saveSteps': 'free',
  'training.saveTotalLimit': 'free',
  'training.loadBestModelAtEnd': 'best',
  'training.metricForBestModel': 'best',
  'training.greaterIsBetter': 'best',
  'training.resumeFromCheckpoint': 'free',
  'training.resumeDespite': 'free',
  'training.maxRollbacks': 'free',
  'training.ddpTimeout': 'free',
  'training.ddpBucketCapMb': 'free',
  companions: 'reported',
  callbacks: 'reported',
  optimizer: 'reported',
  'optimizer.learningRate': 'free',
};

/** A setting that differs between a checkpoint and the run that resumes from it. */
export interface Difference {
  readonly path: string;
  readonly rule: Rule;
  readonly saved: string;
  readonly present: string;
}

/**
 * Returns the settings that differ, without those that change freely. The order of keys does not count, nor does a
 * setting that the checkpoint of an earlier version lacks, if it is off.
 *
 * @param changeable the options of the strategy that do not decide which tensors there are or what they mean
 */
export function differencesOf(saved: unknown, present: unknown, changeable: readonly string[]): readonly Difference[] {
  const isChangeable = (path: string): boolean =>
    changeable.some(
      (option) => path === `strategy.options.${option}` || path.startsWith(`strategy.options.${option}.`),
    );
  return leavesThatDiffer(effective(saved), effective(present), '').flatMap(({ path, ...values }) => {
    const rule = isChangeable(path) ? 'reported' : ruleOf(path);
    return rule === 'free' ? [] : [{ path, rule, saved: shown(values.saved), present: shown(values.present) }];
  });
}

/** Returns whether the run would train on other samples because of a difference. */
export const changesSamples = ({ rule }: Difference): boolean => reasons.some((reason) => reason === rule);

/** Returns the problem to report for a difference. */
export const problemOf = ({ path, saved, present }: Difference): Problem => ({
  message: `${path} differs from that of the checkpoint.`,
  place: { path },
  expected: saved,
  found: present,
});

/** Returns the differences as text, such as `training.seed was 1 and is 2`. */
export const listed = (differences: readonly Difference[]): string =>
  differences.map(({ path, saved, present }) => `${path} was ${saved} and is ${present}`).join('; ');

function ruleOf(path: string): Rule {
  for (let prefix = path; prefix !== ''; prefix = prefix.slice(0, Math.max(0, prefix.lastIndexOf('.')))) {
    const rule = Object.hasOwn(rules, prefix) ? rules[prefix] : undefined;
    if (rule !== undefined) return rule;
  }
  return 'free';
}

/** Returns a configuration in which settings with the same meaning are equal. */
function effective(config: unknown): unknown {
  if (!isRecord(config)) return config;
  const training = isRecord(config['training']) ? config['training'] : {};
  const data = isRecord(config['data']) ? config['data'] : {};
  const strategy = isRecord(config['strategy']) ? config['strategy'] : {};
  const options = isRecord(strategy['options']) ? strategy['options'] : {};
  const best = bestWeightsOf(training);
  return {
    ...config,
    strategy: { ...strategy, options: withSortedLists(options, setsOfModules) },
    evaluation: best.usesReplies ? config['evaluation'] : null,
    training: {
      ...training,
      ...best.settings,
      dataSeed: training['dataSeed'] === training['seed'] ? null : training['dataSeed'],
    },
    data: {
      ...withSortedLists(data, ['rolesToTrain']),
      completionOnlyLoss: data['completionOnlyLoss'] ?? true,
      packingStrategy: data['packing'] === true ? data['packingStrategy'] : null,
    },
  };
}

/** Options of strategies whose lists are sets: their order has no meaning. */
const setsOfModules = ['targetModules', 'excludeModules', 'modulesToSave', 'layersToTransform', 'skipModules'];

/** Returns an object in which the lists of some keys are sorted. A number is a list of one. */
function withSortedLists(object: Readonly<Record<string, unknown>>, keys: readonly string[]): object {
  const sorted = keys.flatMap((key) => {
    const value = ownValue(object, key);
    const list: unknown = typeof value === 'number' ? [value] : value;
    if (!Array.isArray(list)) return [];
    const members = new Map((list as unknown[]).map((member) => [canonical(member), member]));
    return [[key, [...members.keys()].sort().map((member) => members.get(member))] as const];
  });
  return { ...object, ...Object.fromEntries(sorted) };
}

/** Returns the name of a metric without the prefix `eval_` of transformers. */
export const plainMetric = (name: string): string => name.replace(/^eval_/, '');

/**
 * Returns whether lower values of a metric are better. Decided by the name, as transformers does: losses and
 * perplexities.
 */
export const lessIsBetter = (metric: string): boolean => /(loss|perplexity)$/i.test(metric);

/** Returns the settings that decide which weights are the best, and whether their metric is one of replies. */
function bestWeightsOf({
  loadBestModelAtEnd,
  metricForBestModel,
  greaterIsBetter,
}: Readonly<Record<string, unknown>>): { readonly settings: object; readonly usesReplies: boolean } {
  if (loadBestModelAtEnd !== true || typeof metricForBestModel !== 'string')
    return { settings: { metricForBestModel: null, greaterIsBetter: null }, usesReplies: false };
  const metric = plainMetric(metricForBestModel);
  return {
    settings: { metricForBestModel: metric, greaterIsBetter: greaterIsBetter ?? !lessIsBetter(metric) },
    usesReplies: metric !== 'loss' && metric !== 'perplexity',
  };
}

interface Leaf {
  readonly path: string;
  readonly saved: unknown;
  readonly present: unknown;
}

/** Returns the values that differ. Lists are compared as a whole. */
function leavesThatDiffer(saved: unknown, present: unknown, path: string): readonly Leaf[] {
  if (isRecord(saved) && isRecord(present)) {
    return [...new Set([...Object.keys(saved), ...Object.keys(present)])].flatMap((key) =>
      leavesThatDiffer(ownValue(saved, key), ownValue(present, key), path === '' ? key : `${path}.${key}`),
    );
  }
  return canonical(saved) === canonical(present) || (isOff(saved) && isOff(present)) ? [] : [{ path, saved, present }];
}

const isOff = (value: unknown): boolean =>
  value === undefined || value === null || value === false || ['[]', '{}'].includes(canonical(value));

/** Returns JSON whose keys are sorted. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_, inner: Json) => (isRecord(inner) ? sortKeys(inner) : inner)) ?? 'undefined';
}

function shown(value: unknown): string {
  const text = value === undefined ? 'not set' : canonical(value);
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
