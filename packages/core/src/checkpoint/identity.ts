import type { ResolvedConfig } from '../config/types.js';
import type { BatchSource } from '../contract/data.js';
import { WhetstoneError } from '../contract/errors.js';
import type { LoadedModel } from '../contract/model.js';
import type { Strategy } from '../contract/strategy.js';
import type { TensorBackendInfo } from '../contract/tokens.js';
import type { Workers } from '../contract/workers.js';
import { changesSamples, differencesOf, listed, problemOf, type Difference } from './compare-config.js';

/** The properties of a run that are compared when it resumes, besides its configuration. */
export interface Identity {
  readonly plugins: { readonly strategies: readonly string[]; readonly optimizer: string; readonly schedule: string };
  readonly architecture: string;
  readonly rendererHash: string;
  readonly dataHash: string;
  /** See `hashBase`; null if unknown, or if the checkpoint contains the complete model. */
  readonly baseHash?: string | null;
  /** The hash of the evaluation data; null without any. Checkpoints of earlier versions lack it. */
  readonly evalHash?: string | null;
  /** The version of the strategy's plugin; null if it has none. Checkpoints of earlier versions lack it. */
  readonly strategyVersion?: string | null;
  /** What computed the numbers. Checkpoints of earlier versions lack it. */
  readonly execution?: Execution;
}

interface Execution extends Pick<TensorBackendInfo, 'backend' | 'engine'> {
  readonly processes: number;
}

/** The components of a run on which its identity depends. */
interface ComparedRun {
  readonly config: ResolvedConfig;
  readonly loaded: Pick<LoadedModel, 'model' | 'renderer'>;
  readonly owner: {
    readonly instance: Pick<Strategy, 'changeableOptions'>;
    readonly origin?: { readonly version: string | null };
  };
  readonly attachments: readonly { readonly plugin: string }[];
  readonly optimizer: { readonly plugin: string };
  readonly schedule: { readonly plugin: string };
  readonly backend: Pick<TensorBackendInfo, 'backend' | 'engine'>;
  readonly workers: Pick<Workers, 'count'>;
  readonly dataHash: string;
  readonly evalData: Pick<BatchSource, 'summary'> | null;
  readonly baseHash: string | null;
}

export const identityOf = (sources: ComparedRun): Identity => ({
  plugins: {
    strategies: sources.attachments.map(({ plugin }) => plugin),
    optimizer: sources.optimizer.plugin,
    schedule: sources.schedule.plugin,
  },
  architecture: sources.loaded.model.architecture,
  rendererHash: sources.loaded.renderer.hash,
  dataHash: sources.dataHash,
  baseHash: sources.baseHash,
  evalHash: sources.evalData?.summary.contentHash ?? null,
  ...(sources.owner.origin === undefined ? {} : { strategyVersion: sources.owner.origin.version }),
  execution: {
    backend: sources.backend.backend,
    engine: sources.backend.engine,
    processes: sources.workers.count,
  },
});

/** What a checkpoint says of the run that wrote it. */
interface SavedRun {
  readonly identity: Identity;
  /** The resolved configuration. */
  readonly config: unknown;
  /** The file of the identity, for errors. */
  readonly file: string;
}

/**
 * Compares the run that wrote a checkpoint with the one that resumes from it. Returns the differences because of which
 * the best weights of the checkpoint cannot be compared with later ones.
 *
 * @param warn receives differences that do not prevent resuming
 * @throws `CHECKPOINT_INVALID` if the trained tensors have another meaning in this run, or if it would train on other
 *   samples and `training.resumeDespite` does not allow it
 */
export function compareRuns(
  { identity, config, file }: SavedRun,
  sources: ComparedRun,
  warn: (message: string) => void,
): readonly Difference[] {
  const present = identityOf(sources);
  const despite = sources.config.training.resumeDespite;
  comparePlugins(identity, present, file);
  compareBase(identity, present, file);
  warnAboutVersion(identity, present, warn);
  const differences = differencesOf(config, sources.config, sources.owner.instance.changeableOptions ?? []);
  refuseOtherTensors(differences, file);
  refuseOtherSamples(differences, file, despite, warn);
  compareHashes(identity, present, file, despite, warn);
  const inexact = [
    ...differences.filter(({ rule }) => rule === 'inexact'),
    ...executionDifferences(identity.execution, present.execution),
  ];
  if (inexact.length > 0)
    warn(
      'The run continues at the same sample, but its numbers are no longer bit for bit those of an uninterrupted ' +
        `run: ${listed(inexact)}.`,
    );
  const reported = differences.filter(({ rule }) => rule === 'reported');
  if (reported.length > 0)
    warn(`Settings that differ from those of the checkpoint apply from here on: ${listed(reported)}.`);
  return [...differences.filter(({ rule }) => rule === 'best'), ...evaluationDifferences(identity, present)];
}

/** The plugins without which the states of a checkpoint cannot be read. The schedule has no state. */
function comparePlugins(saved: Identity, present: Identity, file: string): void {
  const owners = ({ plugins: { strategies, optimizer }, architecture }: Identity): string =>
    JSON.stringify({ strategies, optimizer, architecture });
  if (owners(saved) === owners(present)) return;
  throw new WhetstoneError(
    'CHECKPOINT_INVALID',
    'The checkpoint belongs to a run with different plugins or a different model.',
    {
      place: { file, path: 'identity' },
      expected: owners(present),
      found: owners(saved),
      hint: 'Resume with the configuration that wrote the checkpoint, or start a new run.',
    },
  );
}

/** Another version of a strategy can give its state another meaning. */
function warnAboutVersion(saved: Identity, present: Identity, warn: (message: string) => void): void {
  const [before, now] = [saved.strategyVersion, present.strategyVersion];
  if (before === undefined || now === undefined || before === now) return;
  const [name = 'the strategy'] = present.plugins.strategies;
  warn(
    `The checkpoint was written with version ${before ?? 'unknown'} of the strategy '${name}', and is read with ` +
      `version ${now ?? 'unknown'}.`,
  );
}

/** An adapter means nothing on other weights. */
function compareBase(saved: Identity, present: Identity, file: string): void {
  const [before, now] = [saved.baseHash ?? null, present.baseHash ?? null];
  if (before === null || now === null || before === now) return;
  throw new WhetstoneError('CHECKPOINT_INVALID', 'The adapter was trained on a base model with other weights.', {
    place: { file, path: 'identity.baseHash' },
    expected: `${now} (SHA-256 of weights of the configured model)`,
    found: `${before} (in the checkpoint)`,
    hint: 'Set model to the model that the run started with, or start a new run.',
  });
}

const pathsOf = (differences: readonly Difference[]): string => differences.map(({ path }) => path).join(', ');

function refuseOtherTensors(differences: readonly Difference[], file: string): void {
  const other = differences.filter(({ rule }) => rule === 'tensors');
  if (other.length === 0) return;
  throw new WhetstoneError(
    'CHECKPOINT_INVALID',
    `What the checkpoint trained has another meaning with these settings: ${pathsOf(other)}.`,
    {
      place: { file },
      problems: other.map(problemOf),
      hint: 'Resume with the values of the checkpoint, or start a new run.',
    },
  );
}

function refuseOtherSamples(
  differences: readonly Difference[],
  file: string,
  despite: ResolvedConfig['training']['resumeDespite'],
  warn: (message: string) => void,
): void {
  const [allowed, refused] = [true, false].map((isAllowed) =>
    differences.filter((each) => changesSamples(each) && despite.some((reason) => reason === each.rule) === isAllowed),
  );
  if (refused !== undefined && refused.length > 0)
    throw new WhetstoneError(
      'CHECKPOINT_INVALID',
      `The run would repeat or miss samples, because these settings differ: ${pathsOf(refused)}.`,
      {
        place: { file },
        problems: refused.map(problemOf),
        hint:
          'Restore the values of the checkpoint. If the change is intended, set training.resumeDespite to ' +
          `${JSON.stringify([...new Set(refused.map(({ rule }) => rule))])}: the results then differ from those of ` +
          'an uninterrupted run.',
      },
    );
  if (allowed !== undefined && allowed.length > 0)
    warn(`The rest of the epoch can repeat or miss samples: ${listed(allowed)}.`);
}

/** Differences that `training.resumeDespite` can allow: the model would see other text than before. */
const allowableHashes = [
  {
    name: 'template',
    key: 'rendererHash',
    message: 'The chat template differs from the one that the checkpoint was trained with.',
  },
  {
    name: 'data',
    key: 'dataHash',
    message:
      'The training data differs from the data that the checkpoint was trained on. Only the number of consumed ' +
      'batches can be restored.',
  },
] as const;

function compareHashes(
  saved: Identity,
  present: Identity,
  file: string,
  despite: ResolvedConfig['training']['resumeDespite'],
  warn: (message: string) => void,
): void {
  for (const { name, key, message } of allowableHashes) {
    if (saved[key] === present[key]) continue;
    if (despite.includes(name)) {
      warn(message);
      continue;
    }
    throw new WhetstoneError('CHECKPOINT_INVALID', message, {
      place: { file, path: `identity.${key}` },
      expected: `${present[key]} (SHA-256 under the current configuration)`,
      found: `${saved[key]} (in the checkpoint)`,
      hint:
        `Restore the original ${name}. If the change is intended, set training.resumeDespite to ["${name}"]: the ` +
        'results then differ from those of an uninterrupted run.',
    });
  }
}

function evaluationDifferences(saved: Identity, present: Identity): readonly Difference[] {
  const [before, now] = [saved.evalHash, present.evalHash];
  if (before === undefined || before === now) return [];
  const shown = (hash: string | null | undefined): string => hash ?? 'none';
  return [{ path: 'the evaluation data', rule: 'best', saved: shown(before), present: shown(now) }];
}

function executionDifferences(saved: Execution | undefined, present: Execution | undefined): readonly Difference[] {
  if (saved === undefined || present === undefined) return [];
  return (['backend', 'engine', 'processes'] as const)
    .filter((key) => saved[key] !== present[key])
    .map((key) => ({
      path: key === 'processes' ? 'the number of processes' : `the ${key}`,
      rule: 'inexact',
      saved: String(saved[key]),
      present: String(present[key]),
    }));
}
