import { existsSync } from 'node:fs';
import { basename, isAbsolute, resolve } from 'node:path';
import {
  WhetstoneError,
  isWhetstoneError,
  type Json,
  type Plugin,
  type PluginKind,
  type Problem,
} from '../contract/index.js';
import { composeSchema, type NamedPlugin } from './compose-schema.js';
import { nearest } from './did-you-mean.js';
import { applyRename, importUnknownKey, placeHint } from './import-names.js';
import { normalizeConfig, type ConfigDefaults } from './normalize.js';
import { formatPath, type Path } from './paths.js';
import type { RawConfig } from './read-config.js';
import { collectUses, isObject, pluginSlots, valueAt, type RequestedPlugin } from './slots.js';
import { deepFreeze } from './track-reads.js';
import type { ResolvedConfig } from './types.js';
import { describeValue, validateAgainst, type ConfigProblem } from './validate-config.js';

/** A configuration that is ready to be composed. */
export interface ConfigResolution {
  readonly config: ResolvedConfig;
  /** The plugin behind every `use`. */
  pluginFor(kind: PluginKind, use: string): Plugin;
  /**
   * A plugin that the options of another one name: loaded, its options checked and completed like those of the
   * configuration itself.
   *
   * @throws WhetstoneError `CONFIG_INVALID` with paths that start at `path`, and what loading throws
   */
  openPlugin(
    kind: PluginKind,
    use: string,
    options: Readonly<Record<string, Json>>,
    path: Path,
  ): Promise<{ readonly plugin: Plugin; readonly options: Readonly<Record<string, Json>> }>;
  /** Whether the user wrote the key, rather than a default. */
  wasWritten(path: Path): boolean;
  /** What was understood although it was written otherwise. */
  readonly notices: readonly string[];
}

export interface ResolveConfigOptions {
  readonly defaults?: ConfigDefaults;
  readonly load: (kind: PluginKind, use: string) => Promise<Plugin>;
}

interface Loaded {
  readonly plugins: readonly NamedPlugin[];
  readonly failures: readonly { readonly request: RequestedPlugin; readonly error: WhetstoneError }[];
}

/** Phase one: loads every plugin that the configuration names, and collects what cannot be loaded. */
async function loadPlugins(config: unknown, load: ResolveConfigOptions['load'], present: Loaded): Promise<Loaded> {
  const plugins = [...present.plugins];
  const failures: Loaded['failures'][number][] = [];
  for (const request of collectUses(config)) {
    if (plugins.some(({ use, plugin }) => use === request.use && plugin.kind === request.kind)) continue;
    try {
      plugins.push({ use: request.use, plugin: await load(request.kind, request.use) });
    } catch (error) {
      if (!isWhetstoneError(error)) throw error;
      failures.push({ request, error });
    }
  }
  return { plugins, failures };
}

/**
 * Turns a configuration as written into one that is validated, defaulted, absolute and frozen. Phase one finds and
 * loads the plugins that it names; phase two validates it against the frame and their schemas together.
 *
 * @throws WhetstoneError `CONFIG_INVALID` with all problems at once; the plugin's own error where that is the only
 *   problem
 */
export async function resolveConfig(
  raw: RawConfig,
  { defaults = {}, load }: ResolveConfigOptions,
): Promise<ConfigResolution> {
  if (!isObject(raw.value))
    throw new WhetstoneError('CONFIG_INVALID', 'A configuration is an object.', {
      place: raw.locate([]),
      expected: 'an object',
      found: describeValue(raw.value),
    });
  const written = structuredClone(raw.value) as { [key: string]: unknown };
  const notices: string[] = [];
  const origins = new Map<string, Path>();
  let loaded: Loaded = { plugins: [], failures: [] };

  // Names of other trainers are moved to where they belong, and what they brought along is validated again.
  for (;;) {
    const config = normalizeConfig(written, defaults) as { [key: string]: unknown };
    loaded = await loadPlugins(config, load, loaded);
    const schema = composeSchema(loaded.plugins);
    const problems = validateAgainst(schema, config);
    let moved = 0;
    for (const { unknownKey } of problems) {
      const rename = unknownKey === undefined ? undefined : importUnknownKey(unknownKey, written, schema, defaults);
      if (rename === undefined || valueAt(written, rename.from) === undefined || !applyRename(written, rename))
        continue;
      moved += 1;
      origins.set(formatPath(rename.to), rename.from);
      notices.push(`${formatPath(rename.from)} is read as ${formatPath(rename.to)}.`);
    }
    if (moved > 0) continue;
    const locate = (path: Path) => ({ ...raw.locate(origins.get(formatPath(path)) ?? path), path: formatPath(path) });
    const all = [...problems, ...(problems.length === 0 ? checkConditions(config, written) : [])];
    report(
      all.map((problem) => withPlaceHint(problem, schema)),
      loaded.failures,
      locate,
    );
    const plugins = loaded.plugins;
    return {
      config: deepFreeze(finish(config, raw)),
      pluginFor: (kind, use) => {
        const found = plugins.find((named) => named.use === use && named.plugin.kind === kind);
        if (found === undefined) throw new WhetstoneError('INTERNAL', `No ${kind} '${use}' was loaded.`);
        return found.plugin;
      },
      openPlugin: async (kind, use, options, path) => {
        const plugin =
          plugins.find((named) => named.use === use && named.plugin.kind === kind)?.plugin ?? (await load(kind, use));
        const completed = structuredClone(options);
        report(
          validateAgainst(plugin.configSchema, completed).map((problem) => ({
            ...problem,
            path: [...path, ...problem.path],
          })),
          [],
          locate,
        );
        return { plugin, options: deepFreeze(completed) };
      },
      wasWritten: (path) => valueAt(written, path) !== undefined,
      notices,
    };
  }
}

/** An unknown key that is like none of its neighbours may belong elsewhere. */
function withPlaceHint(problem: ConfigProblem, schema: unknown): ConfigProblem {
  const unknown = problem.unknownKey;
  if (unknown === undefined || unknown.path.length > 1 || nearest(unknown.key, unknown.known) !== undefined)
    return problem;
  const hint = placeHint(unknown.key, schema);
  return hint === undefined ? problem : { ...problem, hint };
}

/** Throws what is wrong, all at once. */
function report(
  problems: readonly ConfigProblem[],
  failures: Loaded['failures'],
  locate: (path: Path) => { readonly path: string },
): void {
  const [failure, second] = failures;
  if (failure !== undefined && second === undefined && problems.length === 0) {
    const { error, request } = failure;
    throw WhetstoneError.with(error, { place: { ...locate([...request.path, 'use']), ...error.place } });
  }
  const all: Problem[] = [
    ...failures.map(({ error, request }): Problem => ({
      message: [`${error.message} [${error.code}]`, ...error.problems.map((problem) => problem.message)].join(' '),
      place: locate([...request.path, 'use']),
      ...(error.expected === undefined ? {} : { expected: error.expected }),
      ...(error.found === undefined ? {} : { found: error.found }),
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    })),
    ...problems.map(({ message, expected, found, hint, path }): Problem => ({
      message,
      place: locate(path),
      ...(expected === undefined ? {} : { expected }),
      ...(found === undefined ? {} : { found }),
      ...(hint === undefined ? {} : { hint }),
    })),
  ];
  if (all.length > 0) {
    throw new WhetstoneError(
      'CONFIG_INVALID',
      all.length === 1 ? 'The configuration has a problem.' : `The configuration has ${all.length} problems.`,
      { problems: inFileOrder(all) },
    );
  }
}

/** As they stand in the file, where they come from one; what has no place there (an override) goes last. */
function inFileOrder(problems: readonly Problem[]): readonly Problem[] {
  const rank = ({ place }: Problem) => (place?.line ?? Infinity) * 1e6 + (place?.column ?? 0);
  return problems.some(({ place }) => place?.line !== undefined)
    ? problems.toSorted((a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b)))
    : problems;
}

/** Keys that another key's value makes meaningless: nothing would read them. */
const conditions: readonly {
  readonly key: Path;
  readonly byDefault: unknown;
  readonly on: Path;
  readonly wanted: (value: unknown) => boolean;
  readonly condition: string;
}[] = [
  {
    key: ['training', 'evalSteps'],
    byDefault: null,
    on: ['training', 'evalStrategy'],
    wanted: (value) => value === 'steps',
    condition: '"steps"',
  },
  {
    key: ['training', 'saveSteps'],
    byDefault: 500,
    on: ['training', 'saveStrategy'],
    wanted: (value) => value === 'steps',
    condition: '"steps"',
  },
  {
    key: ['training', 'greaterIsBetter'],
    byDefault: null,
    on: ['training', 'loadBestModelAtEnd'],
    wanted: (value) => value === true,
    condition: 'true',
  },
  ...(
    [
      ['replies', 32],
      ['maxNewTokens', 128],
    ] as const
  ).map(([key, byDefault]) => ({
    key: ['evaluation', key],
    byDefault,
    on: ['evaluation', 'metrics'],
    wanted: (value: unknown) => Array.isArray(value) && value.length > 0,
    condition: 'at least one metric',
  })),
  {
    key: ['training', 'metricForBestModel'],
    byDefault: 'loss',
    on: ['training', 'loadBestModelAtEnd'],
    wanted: (value) => value === true,
    condition: 'true',
  },
];

/** What fits the schema but contradicts itself. */
function checkConditions(config: unknown, written: unknown): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = conditions.flatMap(({ key, byDefault, on, wanted, condition }) => {
    const value = valueAt(config, on);
    const own = valueAt(written, key);
    return own === undefined || own === byDefault || wanted(value)
      ? []
      : [
          {
            path: key,
            message: `${formatPath(key)} would never be read.`,
            expected: `${formatPath(on)}: ${condition}`,
            found: describeValue(value),
            hint: `Leave ${String(key.at(-1))} out, or set ${formatPath(on)}.`,
          },
        ];
  });
  const strategy = valueAt(config, ['training', 'evalStrategy']);
  const evaluation = valueAt(config, ['data', 'eval']);
  if (strategy !== 'no' && (evaluation === undefined || evaluation === null)) {
    problems.push({
      path: ['training', 'evalStrategy'],
      message: 'There is nothing to evaluate with.',
      expected: 'data.eval',
      found: 'nothing',
      hint: 'Give data.eval, or set training.evalStrategy to "no".',
    });
  }
  const metrics = valueAt(config, ['evaluation', 'metrics']);
  if (Array.isArray(metrics) && metrics.length > 0 && (evaluation === undefined || evaluation === null)) {
    problems.push({
      path: ['evaluation', 'metrics'],
      message: 'There is nothing for the model to answer.',
      expected: 'data.eval',
      found: 'nothing',
    });
  }
  const best = valueAt(config, ['training', 'loadBestModelAtEnd']);
  if (best === true && strategy === 'no') {
    problems.push({
      path: ['training', 'loadBestModelAtEnd'],
      message: 'Without evaluation no weights are best.',
      expected: 'training.evalStrategy: "steps" or "epoch"',
      found: '"no"',
    });
  }
  return problems;
}

/** The validated configuration in its one final shape: every key there, paths absolute. */
function finish(config: { [key: string]: unknown }, raw: RawConfig): ResolvedConfig {
  const absolute = (path: unknown) => (typeof path === 'string' ? resolve(raw.baseFolder, path) : null);
  for (const { path, list, flat } of pluginSlots) {
    const value = valueAt(config, path);
    for (const item of list && Array.isArray(value) ? (value as readonly unknown[]) : [value]) {
      if (isObject(item) && !flat) (item as { [key: string]: unknown })['options'] ??= {};
    }
  }
  const section = (name: string) => (isObject(config[name]) ? config[name] : {});
  const model = section('model');
  const training = section('training');
  const output = section('output');
  const resume = training['resumeFromCheckpoint'];
  const { $schema: _, ...rest } = config;
  return {
    ...rest,
    baseFolder: raw.baseFolder,
    model: {
      use: model['use'] ?? null,
      path: modelPath(model['path'], raw.baseFolder),
      dtype: model['dtype'] ?? 'float32',
      addTokens: model['addTokens'] ?? [],
      options: model['options'] ?? {},
    },
    chatTemplatePath: absolute(config['chatTemplatePath']),
    backend: section('backend'),
    data: { ...section('data'), eval: section('data')['eval'] ?? null },
    training: {
      ...training,
      resumeFromCheckpoint:
        typeof resume === 'string' ? resolve(raw.baseFolder, resume) : resume === false ? null : resume,
    },
    output: {
      ...output,
      folder:
        output['folder'] === null && raw.file !== null && valueAt(raw.value, ['output', 'folder']) !== null
          ? defaultFolder(raw.file, raw.baseFolder)
          : absolute(output['folder']),
    },
  } as unknown as ResolvedConfig;
}

/** A run that was configured by a file and names no folder is kept under the file's name. */
function defaultFolder(file: string, baseFolder: string): string {
  return resolve(baseFolder, 'runs', basename(file).replace(/\.[^.]+$/, ''));
}

/** An absolute path where it is a path, else the name as it is, for the model loader to find. */
function modelPath(path: unknown, baseFolder: string): string | null {
  if (typeof path !== 'string') return null;
  const file = resolve(baseFolder, path);
  return isAbsolute(path) || path.startsWith('.') || existsSync(file) ? file : path;
}
