import { resolveBackend } from '@whetstone/backend';
import {
  rawConfigOf,
  readConfigFile,
  resolveConfig,
  resolveStages,
  type ConfigResolution,
  type ResolvedConfig,
  type ResolvedStage,
} from '@whetstone/core/config';
import { createRegistry, isConfigModule, loadPlugin, readConfig } from '@whetstone/core/plugins';
import {
  batchSchema,
  isWhetstoneError,
  WhetstoneError,
  type DataSource,
  type DataTransform,
  type PluginContext,
  type TransformReport,
} from '@whetstone/core/contract';
import { statOf } from '@whetstone/core/files';
import { didYouMean, isRecord } from '@whetstone/core/util';
import { applyTransforms, createConversationSource } from '@whetstone/data';
import { createBatchSourceFactory } from '@whetstone/data/batches';
import type { LayoutName } from '@whetstone/data/choices';
import { enforceUnreadableLimit, orderWarnings, unusedMappings, type BatchOptions } from '@whetstone/data/internal';
import { builtInPlugins, openGenerator, openLossMeter } from '../built-ins.js';
import { terminalLogger, type Terminal } from '../terminal.js';
import { configDefaults, sharedModules } from '../trainer.js';

/** Data of a command line: files, or the data of one stage of a configuration. */
export interface CommandData {
  /** The conversations before the transforms. */
  readonly source: DataSource;
  /** The transforms of the configuration for this part; none for files. */
  readonly transforms: readonly DataTransform[];
  /** The configuration of the stage; null for files. */
  readonly config: ResolvedConfig | null;
  /** The name of the stage; null for files, and for a configuration without stages. */
  readonly stage: string | null;
}

/** The data of all stages of a configuration, in their order; one entry for files and without stages. */
export type AllData = readonly [CommandData, ...CommandData[]];

/** Options of a command line that select data. */
export interface SelectionOptions {
  readonly layout?: string;
  /** The name of the only stage to read. */
  readonly stage?: string;
}

export type DataPart = 'train' | 'eval';

/** A larger file is data. */
const MAX_CONFIG_BYTES = 1024 * 1024;

/** Names of TRL at the top level of a configuration, in place of `model` and `data.train`. */
const flatNames = ['model_name_or_path', 'train_file'];

/** Returns whether a path is a configuration of a run: a module, or a small JSON file with training data or stages. */
async function isConfiguration(path: string): Promise<boolean> {
  if (isConfigModule(path)) return true;
  if (!/\.jsonc?$/i.test(path)) return false;
  const found = await statOf(path);
  if (found === null || !found.isFile() || found.size > MAX_CONFIG_BYTES) return false;
  const value = await readConfigFile(path).then(
    (raw) => raw.value,
    (error: unknown) => {
      // A file that is not one JSON value is data; it is read again.
      if (isWhetstoneError(error) && error.code === 'CONFIG_UNREADABLE') return null;
      throw error;
    },
  );
  if (!isRecord(value)) return false;
  if (flatNames.some((name) => typeof value[name] === 'string')) return true;
  return Array.isArray(value['stages']) || (isRecord(value['data']) && 'train' in value['data']);
}

/** Loads the plugins that a configuration names; local files are relative to its folder. */
const loaderFor = (baseFolder: string): Parameters<typeof resolveConfig>[1] => {
  const registry = createRegistry(builtInPlugins);
  return {
    defaults: configDefaults,
    load: (kind, use) => loadPlugin(kind, use, { registry, baseFolder, sharedModules }),
  };
};

/** @param model the model of the configuration, which a run would train */
const contextOf = (
  baseFolder: string,
  seed: number,
  terminal: Terminal,
  model: string | null = null,
): PluginContext => ({
  logger: terminalLogger(terminal),
  seed,
  baseFolder,
  outputFolder: null,
  openGenerator: async (name) => {
    await resolveBackend({ name: 'auto', threads: null });
    return openGenerator(name);
  },
  openLossMeter: async (given) => {
    const measured = given ?? model;
    if (measured === null)
      throw new WhetstoneError('USAGE', 'A model that is trained needs a configuration.', {
        expected: 'the option "model" of augment-synonyms, or a configuration in place of the files',
      });
    return openLossMeter(measured, await resolveBackend({ name: 'auto', threads: null }));
  },
});

async function createTransforms(
  { config, pluginFor }: Pick<ConfigResolution, 'config' | 'pluginFor'>,
  context: PluginContext,
  part: DataPart,
): Promise<DataTransform[]> {
  const transforms: DataTransform[] = [];
  for (const { use, options } of config.data.transforms)
    transforms.push((await pluginFor('data-transform', use).create(options as never, context)) as DataTransform);
  if (part === 'train') for (const warning of orderWarnings(transforms)) context.logger.warn(warning);
  return transforms;
}

/**
 * Opens files, or the training or evaluation data of a configuration: of all its stages, or of one. Stages without
 * evaluation data are left out.
 *
 * @throws `USAGE` if the configuration is combined with files, has no such stage, or no stage has such data
 * @throws the errors of a configuration and of its data source
 */
export async function openData(
  paths: readonly string[],
  { layout, stage }: SelectionOptions,
  terminal: Terminal,
  part: DataPart = 'train',
): Promise<AllData> {
  const configurations = [];
  for (const path of paths) if (await isConfiguration(path)) configurations.push(path);
  const [file] = configurations;
  if (file === undefined) {
    if (stage !== undefined) throw unknownStage(paths.join(', '), stage, []);
    const source = await createConversationSource(
      { path: paths, layout: (layout ?? 'auto') as LayoutName | 'auto' },
      process.cwd(),
    );
    return [{ source, transforms: [], config: null, stage: null }];
  }
  if (paths.length > 1 || layout !== undefined)
    throw new WhetstoneError('USAGE', 'A configuration names its data and layouts itself.', {
      place: { file },
      expected: 'one configuration without --layout, or data files',
      found: paths.length > 1 ? paths.join(', ') : `--layout ${layout ?? ''}`,
    });
  const opened: CommandData[] = [];
  for (const each of await selectStages(file, stage)) {
    const data = await openStage(each, terminal, part);
    if (data !== null) opened.push(data);
  }
  if (isFilled(opened)) return opened;
  throw new WhetstoneError('USAGE', 'The configuration has no evaluation data.', {
    place: { file, path: 'data.eval' },
    expected: 'data.eval or data.evalShare',
  });
}

const isFilled = (data: readonly CommandData[]): data is AllData => data.length > 0;

/** Returns the stages of a configuration, or the named one; without stages, the configuration itself. */
async function selectStages(file: string, stage: string | undefined): Promise<readonly ResolvedStage[]> {
  const raw = await readConfig(file, sharedModules);
  const stages = await resolveStages(raw, loaderFor(raw.baseFolder));
  if (stage === undefined) return stages;
  const selected = stages.filter(({ name }) => name === stage);
  if (selected.length > 0) return selected;
  const names = stages.flatMap(({ name }) => name ?? []);
  throw unknownStage(file, stage, names);
}

const unknownStage = (file: string, stage: string, names: readonly string[]): WhetstoneError =>
  new WhetstoneError('USAGE', `Stage '${stage}' not found.`, {
    place: { file },
    expected: names.length > 0 ? names.join(', ') : 'no --stage, since the data has no stages',
    found: `--stage ${stage}`,
    hint: didYouMean(stage, names),
  });

/** Opens the data of a stage; null if it has no evaluation data. */
async function openStage(
  { name, resolution }: ResolvedStage,
  terminal: Terminal,
  part: DataPart,
): Promise<CommandData | null> {
  const { config, pluginFor } = resolution;
  const { train, eval: evaluation, evalShare } = config.data;
  const use = part === 'train' || evalShare !== null ? train : evaluation;
  if (use === null) return null;
  const seed = config.training.dataSeed ?? config.training.seed;
  const context = contextOf(config.baseFolder, config.training.seed, terminal, config.model.path);
  const source = (await pluginFor('data-source', use.use).create(use.options as never, context)) as DataSource;
  for (const message of await unusedMappings(source, `${part} data`)) context.logger.warn(message);
  const transforms = (await createTransforms(resolution, context, part)).filter(
    ({ trainOnly }) => part === 'train' || trainOnly !== true,
  );
  if (evalShare === null) return { source, transforms, config, stage: name };
  const split = await createBatchSourceFactory().split({ part, share: evalShare, seed });
  return { source, transforms: [split, ...transforms], config, stage: name };
}

/** Identifies the conversations of a part of a stage. */
function contentKey({ config }: CommandData, part: DataPart): string {
  if (config === null) return '';
  const { train, eval: evaluation, evalShare, transforms } = config.data;
  const { seed, dataSeed } = config.training;
  const use = part === 'train' || evalShare !== null ? train : evaluation;
  return JSON.stringify([use, evalShare, transforms, seed, dataSeed]);
}

/** Leaves out stages whose conversations, and what else matters of their configuration, are those of an earlier one. */
export function distinctData(all: AllData, further: (data: CommandData) => unknown = () => null): AllData {
  const keys = all.map((data) => JSON.stringify([contentKey(data, 'train'), further(data)]));
  const distinct = all.filter((_, index) => keys.indexOf(keys[index] ?? '') === index);
  return isFilled(distinct) ? distinct : all;
}

/** Returns the names of the stages that are read; undefined without stages. */
export const stageNames = (all: AllData): readonly string[] | undefined => {
  const names = all.flatMap(({ stage }) => stage ?? []);
  return names.length === 0 ? undefined : names;
};

/** Prints which stages are read, if there are several. */
export function tellStages(all: AllData, terminal: Terminal): void {
  if (all.length > 1)
    terminal.line(`The data of ${all.length} stages: ${stageNames(all)?.join(', ') ?? ''}. --stage selects one.`);
}

/**
 * Returns pairs of training and evaluation data to compare: the evaluation of a stage, and the training of this and all
 * earlier stages, from which the model has learned by then.
 */
export function leakPairs(training: AllData, evaluation: AllData): readonly (readonly [AllData, CommandData])[] {
  // If several stages have the same evaluation data, the last one is compared with the most.
  const last = new Map(evaluation.map((data) => [contentKey(data, 'eval'), data]));
  return [...last.values()].map((data) => {
    const end = training.findIndex(({ stage }) => stage === data.stage) + 1;
    const earlier = training.slice(0, end);
    return [isFilled(earlier) ? distinctData(earlier) : training, data];
  });
}

/** The transformed conversations of all stages, one stage after the other. */
export interface JoinedData {
  readonly source: DataSource;
  /** Returns the reports of all transforms in the latest pass. */
  reports(): readonly TransformReport[];
  /**
   * Checks the unreadable rows of the latest pass: by the given policy, or by the policy of each stage.
   *
   * @param written number of conversations that the pass returned
   * @throws `DATA_UNREADABLE`
   */
  enforceUnreadable(policy: BatchOptions['unreadableRows'] | undefined, written: number): void;
}

const policyOf = ({ config }: CommandData): BatchOptions['unreadableRows'] => config?.data.unreadableRows ?? 'error';

/** Applies the transforms of each stage to its data, and further transforms to the data of all stages. */
export function joinData(all: AllData, further: readonly DataTransform[] = []): JoinedData {
  const [only, ...others] = all;
  // Worker threads can read this source, but not one of several stages.
  if (others.length === 0) {
    const source = applyTransforms(only.source, [...only.transforms, ...further]);
    return {
      source,
      reports: () => source.reports,
      enforceUnreadable: (policy = policyOf(only), written) =>
        enforceUnreadableLimit(source.unreadable, source.reports[0]?.conversationsIn ?? written, policy),
    };
  }
  const parts = all.map((data) => ({ data, counted: countReads(data.source) }));
  const stages = parts.map(({ data, counted }) => applyTransforms(counted.source, data.transforms));
  const source = applyTransforms(concatenate(stages), further);
  return {
    source,
    reports: () => [
      ...stages.flatMap(({ reports }, index) =>
        reports.map((report) => ({ ...report, name: `${all[index]?.stage ?? ''}: ${report.name}` })),
      ),
      ...source.reports,
    ],
    enforceUnreadable: (policy) => {
      const total = parts.reduce((sum, { counted }) => sum + counted.count(), 0);
      if (policy !== undefined) enforceUnreadableLimit(source.unreadable, total, policy);
      else
        for (const { data, counted } of parts)
          enforceUnreadableLimit(data.source.unreadable, counted.count(), policyOf(data));
    },
  };
}

/** Counts the conversations that are read of a source in its latest pass. */
function countReads(source: DataSource): { readonly source: DataSource; count(): number } {
  let count = 0;
  return {
    source: {
      async *conversations() {
        count = 0;
        for await (const conversation of source.conversations()) {
          count++;
          yield conversation;
        }
      },
      get unreadable() {
        return source.unreadable;
      },
      files: source.files,
    },
    count: () => count,
  };
}

const concatenate = (sources: readonly DataSource[]): DataSource => ({
  async *conversations() {
    for (const source of sources) yield* source.conversations();
  },
  get unreadable() {
    return sources.flatMap(({ unreadable }) => unreadable);
  },
  files: [...new Set(sources.flatMap(({ files }) => files))],
});

/**
 * Returns the policy for unreadable rows of a command line.
 *
 * @throws `USAGE` if it is not error, skip or a share
 */
export function unreadablePolicyOf(text: string | undefined): BatchOptions['unreadableRows'] | undefined {
  if (text === undefined || text === 'error' || text === 'skip') return text;
  const maxShare = text.trim() === '' ? NaN : Number(text);
  if (maxShare >= 0 && maxShare <= 1) return { maxShare };
  throw new WhetstoneError('USAGE', 'The value of --unreadable-rows is invalid.', {
    expected: 'error, skip, or the largest share of all rows to skip, such as 0.01',
    found: text,
  });
}

/**
 * Checks the unreadable rows of a command that writes the others, and reports those that are left out.
 *
 * @throws `DATA_UNREADABLE` with a hint about `--unreadable-rows`
 */
export function handleUnreadable(
  { source, enforceUnreadable }: JoinedData,
  policy: BatchOptions['unreadableRows'] | undefined,
  written: number,
  terminal: Terminal,
): void {
  try {
    enforceUnreadable(policy, written);
  } catch (error) {
    if (!isWhetstoneError(error)) throw error;
    const hint = 'Correct these rows, or skip them with --unreadable-rows skip. Skipped rows are counted.';
    throw WhetstoneError.with(error, { hint });
  }
  const [first] = source.unreadable;
  if (first === undefined) return;
  const { file = '', line, index } = first.origin;
  const count = source.unreadable.length;
  terminal.complain(
    `${terminal.paint.yellow('warning:')} ${count} ${count === 1 ? 'row' : 'rows'} cannot be read and are not in the ` +
      `output; the first is ${file}:${line ?? index + 1}: ${first.reason}`,
  );
}

/** Returns the options of batches that a configuration sets, for commands that render and tokenize. */
export const batchOptionsOf = (config: ResolvedConfig | null): Partial<BatchOptions> =>
  config === null
    ? {}
    : ({
        ...Object.fromEntries(Object.entries(config.data).filter(([key]) => key in batchSchema.properties)),
        completionOnlyLoss: config.data.completionOnlyLoss ?? true,
      } as Partial<BatchOptions>);

/**
 * Creates the transforms of a command line, each a name or `{"use", "options"}` as JSON. They are validated like those
 * of a configuration, and their defaults are filled in.
 */
export async function openTransforms(
  given: readonly string[],
  seed: number,
  terminal: Terminal,
): Promise<DataTransform[]> {
  const uses = given.map((text): unknown => {
    if (!text.trimStart().startsWith('{')) return text;
    try {
      return JSON.parse(text) as unknown;
    } catch (cause) {
      throw new WhetstoneError('USAGE', `A transform is not valid JSON: ${(cause as Error).message}`, {
        found: text,
        expected: '{"use": "augment-synonyms", "options": {…}}',
        cause,
      });
    }
  });
  const baseFolder = process.cwd();
  // A configuration requires the other keys; they are not used.
  const raw = rawConfigOf({ model: '.', strategy: 'full', data: { train: '.', transforms: uses } }, baseFolder);
  const resolution = await resolveConfig(raw, loaderFor(baseFolder));
  return createTransforms(resolution, contextOf(baseFolder, seed, terminal), 'train');
}

/** Roles that chat templates know. */
const knownRoles = ['system', 'developer', 'user', 'assistant', 'tool', 'function', 'ipython'];

/** The conversations whose roles are looked at. */
const ROLE_SAMPLE = 10_000;

/** Names the roles of the first conversations of each stage that most chat templates do not know. */
export async function nameUnknownRoles(all: AllData, terminal: Terminal): Promise<void> {
  const counts = new Map<string, { count: number; readonly place: string }>();
  for (const { source } of all) await countUnknownRoles(source, counts);
  for (const [role, { count, place }] of counts)
    terminal.complain(
      `${terminal.paint.yellow('warning:')} The role "${role}" is unknown: ` +
        `${count} ${count === 1 ? 'turn' : 'turns'}, the first in ${place}. ` +
        `Map it with "roles" of the data source, as in {"${role}": "user"}.`,
    );
}

async function countUnknownRoles(
  source: DataSource,
  counts: Map<string, { count: number; readonly place: string }>,
): Promise<void> {
  let conversations = 0;
  for await (const { messages, origin } of source.conversations()) {
    if (++conversations > ROLE_SAMPLE) break;
    for (const { role } of messages) {
      if (knownRoles.includes(role)) continue;
      const known = counts.get(role);
      if (known === undefined) counts.set(role, { count: 1, place: `${origin.file ?? ''}:${origin.line ?? 0}` });
      else known.count++;
    }
  }
}
