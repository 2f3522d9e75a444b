import { stat } from 'node:fs/promises';
import { resolveBackend } from '@whetstone/backend';
import {
  rawConfigOf,
  readConfigFile,
  resolveConfig,
  resolveStages,
  type ConfigResolution,
  type ResolvedConfig,
} from '@whetstone/core/config';
import { createRegistry, loadPlugin } from '@whetstone/core/plugins';
import {
  batchSchema,
  WhetstoneError,
  type DataSource,
  type DataTransform,
  type PluginContext,
} from '@whetstone/core/contract';
import { isRecord } from '@whetstone/core/util';
import { createConversationSource } from '@whetstone/data';
import { createBatchSourceFactory } from '@whetstone/data/batches';
import type { LayoutName } from '@whetstone/data/choices';
import type { BatchOptions } from '@whetstone/data/internal';
import { builtInPlugins, openGenerator } from '../built-ins.js';
import { terminalLogger, type Terminal } from '../terminal.js';
import { configDefaults, sharedModules } from '../trainer.js';

/** Data of a command line: files, or the data of a configuration. */
export interface CommandData {
  /** The conversations before the transforms. */
  readonly source: DataSource;
  /** The transforms of the configuration for this part; none for files. */
  readonly transforms: readonly DataTransform[];
  /** The configuration; null for files. */
  readonly config: ResolvedConfig | null;
}

export type DataPart = 'train' | 'eval';

/** A larger file is data. */
const MAX_CONFIG_BYTES = 1024 * 1024;

/** Returns whether a path is a configuration of a run: a small JSON file with `data.train`, or with stages. */
async function isConfiguration(path: string): Promise<boolean> {
  if (!/\.jsonc?$/i.test(path)) return false;
  const size = await stat(path).then(
    (found) => (found.isFile() ? found.size : Infinity),
    () => Infinity,
  );
  if (size > MAX_CONFIG_BYTES) return false;
  const value = await readConfigFile(path).then(
    (raw) => raw.value,
    () => null,
  );
  if (!isRecord(value)) return false;
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

const contextOf = (baseFolder: string, seed: number, terminal: Terminal): PluginContext => ({
  logger: terminalLogger(terminal),
  seed,
  baseFolder,
  outputFolder: null,
  openGenerator: async (model) => {
    await resolveBackend({ name: 'auto', threads: null });
    return openGenerator(model);
  },
});

async function createTransforms(
  { config, pluginFor }: Pick<ConfigResolution, 'config' | 'pluginFor'>,
  context: PluginContext,
): Promise<DataTransform[]> {
  const transforms: DataTransform[] = [];
  for (const { use, options } of config.data.transforms)
    transforms.push((await pluginFor('data-transform', use).create(options as never, context)) as DataTransform);
  return transforms;
}

/**
 * Opens files, or the training or evaluation data of a configuration.
 *
 * @throws `USAGE` if the configuration is combined with files, or has no such data
 * @throws the errors of a configuration and of its data source
 */
export async function openData(
  paths: readonly string[],
  layout: string | undefined,
  terminal: Terminal,
  part: DataPart = 'train',
): Promise<CommandData> {
  const configurations = [];
  for (const path of paths) if (await isConfiguration(path)) configurations.push(path);
  const [file] = configurations;
  if (file === undefined) {
    const source = await createConversationSource(
      { path: paths, layout: (layout ?? 'auto') as LayoutName | 'auto' },
      process.cwd(),
    );
    return { source, transforms: [], config: null };
  }
  if (paths.length > 1 || layout !== undefined)
    throw new WhetstoneError('USAGE', 'A configuration names its data and layouts itself.', {
      place: { file },
      expected: 'one configuration without --layout, or data files',
      found: paths.length > 1 ? paths.join(', ') : `--layout ${layout ?? ''}`,
    });
  return openConfigured(file, terminal, part);
}

async function openConfigured(file: string, terminal: Terminal, part: DataPart): Promise<CommandData> {
  const raw = await readConfigFile(file);
  const [{ name, resolution }, ...others] = await resolveStages(raw, loaderFor(raw.baseFolder));
  if (others.length > 0) terminal.line(`The data of the first of ${others.length + 1} stages, '${name ?? ''}'.`);
  const { config, pluginFor } = resolution;
  const { train, eval: evaluation, evalShare } = config.data;
  const use = part === 'train' || evalShare !== null ? train : evaluation;
  if (use === null)
    throw new WhetstoneError('USAGE', 'The configuration has no evaluation data.', {
      place: { file, path: 'data.eval' },
      expected: 'data.eval or data.evalShare',
    });
  const seed = config.training.dataSeed ?? config.training.seed;
  const context = contextOf(config.baseFolder, config.training.seed, terminal);
  const source = (await pluginFor('data-source', use.use).create(use.options as never, context)) as DataSource;
  const transforms = (await createTransforms(resolution, context)).filter(
    ({ trainOnly }) => part === 'train' || trainOnly !== true,
  );
  if (evalShare === null) return { source, transforms, config };
  const split = await createBatchSourceFactory().split({ part, share: evalShare, seed });
  return { source, transforms: [split, ...transforms], config };
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
  return createTransforms(await resolveConfig(raw, loaderFor(baseFolder)), contextOf(baseFolder, seed, terminal));
}

/** Roles that chat templates know. */
const knownRoles = ['system', 'developer', 'user', 'assistant', 'tool', 'function', 'ipython'];

/** The conversations whose roles are looked at. */
const ROLE_SAMPLE = 10_000;

/** Names the roles of the first conversations that most chat templates do not know. */
export async function nameUnknownRoles(data: Pick<CommandData, 'source'>, terminal: Terminal): Promise<void> {
  const counts = new Map<string, { count: number; readonly place: string }>();
  let conversations = 0;
  for await (const { messages, origin } of data.source.conversations()) {
    if (++conversations > ROLE_SAMPLE) break;
    for (const { role } of messages) {
      if (knownRoles.includes(role)) continue;
      const known = counts.get(role);
      if (known === undefined) counts.set(role, { count: 1, place: `${origin.file ?? ''}:${origin.line ?? 0}` });
      else known.count++;
    }
  }
  for (const [role, { count, place }] of counts)
    terminal.complain(
      `${terminal.paint.yellow('warning:')} The role "${role}" is unknown: ` +
        `${count} ${count === 1 ? 'turn' : 'turns'}, the first in ${place}. ` +
        `Map it with "roles" of the data source, as in {"${role}": "user"}.`,
    );
}
