import { existsSync } from 'node:fs';
import { basename, isAbsolute, resolve } from 'node:path';
import {
  WhetstoneError,
  isWhetstoneError,
  type Json,
  type JsonSchema,
  type Plugin,
  type PluginKind,
  type Problem,
} from '../contract/index.js';
import { composeSchema, type NamedPlugin } from './compose-schema.js';
import { frozen, nearest } from '../util/index.js';
import { applyMeaning, importUnknownKey, pathHint, removeAt } from './import-names.js';
import { normalizeConfig, type ConfigDefaults } from './normalize.js';
import { formatPath, type Path } from './paths.js';
import type { RawConfig } from './read-config.js';
import { collectUses, isObject, pluginSlots, valueAt, type RequestedPlugin } from './slots.js';
import type { ResolvedConfig } from './types.js';
import { describeValue, validateAgainst, type ConfigProblem } from './validate-config.js';

/** A validated configuration with its plugins. */
export interface ConfigResolution {
  readonly config: ResolvedConfig;
  /** Returns the plugin that `use` of the configuration selects. */
  pluginFor(kind: PluginKind, use: string): Plugin;
  /**
   * Loads a plugin that the options of another plugin name, validates its options and fills in their defaults.
   *
   * @param path the path of the options in the configuration, for error messages
   * @throws `CONFIG_INVALID` if the options are invalid
   * @throws the errors of `load`
   */
  openPlugin(
    kind: PluginKind,
    use: string,
    options: Readonly<Record<string, Json>>,
    path: Path,
  ): Promise<{ readonly plugin: Plugin; readonly options: Readonly<Record<string, Json>> }>;
  /** Returns whether the user set the value at a path. False for defaults. */
  wasWritten(path: Path): boolean;
  /** Messages about keys that were read under another name. */
  readonly notices: readonly string[];
}

export interface ResolveConfigOptions {
  readonly defaults?: ConfigDefaults;
  /** Loads the plugin that `use` selects. */
  readonly load: (kind: PluginKind, use: string) => Promise<Plugin>;
}

interface Loaded {
  readonly plugins: readonly NamedPlugin[];
  readonly failures: readonly { readonly request: RequestedPlugin; readonly error: WhetstoneError }[];
}

/** Loads every plugin that the configuration names, and collects the errors of those that cannot be loaded. */
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
 * Resolves a configuration: loads the plugins that it names, validates it against its schema and theirs, sets defaults,
 * makes paths absolute, and freezes the result.
 *
 * @throws `CONFIG_INVALID` with all problems
 * @throws the error of a plugin that cannot be loaded, if that is the only problem
 */
export async function resolveConfig(
  raw: RawConfig,
  { defaults = {}, load }: ResolveConfigOptions,
): Promise<ConfigResolution> {
  if (!isObject(raw.value))
    throw new WhetstoneError('CONFIG_INVALID', 'The configuration is not an object.', {
      place: raw.locate([]),
      expected: 'an object',
      found: describeValue(raw.value),
    });
  let written = structuredClone(raw.value) as { readonly [key: string]: unknown };
  const notices: string[] = [];
  const ignored: string[] = [];
  const origins = new Map<string, Path>();
  let loaded: Loaded = { plugins: [], failures: [] };

  // Options of other trainers are renamed first. Renamed options can name further plugins, so validation repeats.
  for (;;) {
    const config = normalizeConfig(written, defaults) as { [key: string]: unknown };
    loaded = await loadPlugins(config, load, loaded);
    const schema = composeSchema(loaded.plugins);
    const problems = validateAgainst(schema, config);
    let moved = 0;
    // What a field means must not depend on the order of the fields.
    const before = structuredClone(written);
    const hints = new Map<string, string>();
    for (const { unknownKey } of problems) {
      const meaning = unknownKey === undefined ? undefined : importUnknownKey(unknownKey, before, schema, defaults);
      if (meaning === undefined || valueAt(written, meaning.from) === undefined) continue;
      const name = formatPath(meaning.from);
      if (meaning.kind === 'refused') {
        hints.set(name, meaning.hint);
        continue;
      }
      if (meaning.kind === 'ignored') {
        removeAt(written, meaning.from);
        ignored.push(`${name} (${meaning.reason})`);
      } else {
        const changed = applyMeaning(written, meaning);
        if ('taken' in changed) {
          hints.set(name, `It means ${formatPath(changed.taken as Path)}, which is also set. Remove "${name}".`);
          continue;
        }
        written = changed;
        for (const { to } of meaning.options) {
          origins.set(formatPath(to), meaning.from);
          notices.push(`${name} is read as ${formatPath(to)}.`);
        }
      }
      moved++;
    }
    if (moved > 0) continue;
    const locate = (path: Path) => ({ ...raw.locate(origins.get(formatPath(path)) ?? path), path: formatPath(path) });
    const all = [...problems, ...(problems.length === 0 ? checkConditions(config, written, schema) : [])];
    throwProblems(
      all.map((problem) => withPathHint(problem, written, schema, hints)),
      loaded.failures,
      locate,
    );
    const plugins = loaded.plugins;
    const final = written;
    const finished = frozen(finish(config, raw));
    checkOptions(finished, plugins, locate);
    return {
      config: finished,
      pluginFor: (kind, use) => {
        const found = plugins.find((named) => named.use === use && named.plugin.kind === kind);
        if (found === undefined) throw new WhetstoneError('INTERNAL', `No ${kind} '${use}' was loaded.`);
        return found.plugin;
      },
      openPlugin: async (kind, use, options, path) => {
        const plugin =
          plugins.find((named) => named.use === use && named.plugin.kind === kind)?.plugin ?? (await load(kind, use));
        const completed = structuredClone(options);
        throwProblems(
          validateAgainst(plugin.configSchema, completed).map((problem) => ({
            ...problem,
            path: [...path, ...problem.path],
          })),
          [],
          locate,
        );
        return { plugin, options: frozen(completed) };
      },
      wasWritten: (path) => valueAt(final, path) !== undefined,
      notices: [...notices, ...(ignored.length === 0 ? [] : [`Fields without effect: ${ignored.join(', ')}.`])],
    };
  }
}

/** Calls `checkOptions` of the plugins. @throws their errors, with the place of the options */
function checkOptions(
  config: ResolvedConfig,
  plugins: readonly NamedPlugin[],
  locate: (path: Path) => { readonly path: string },
): void {
  const context = { baseFolder: config.baseFolder, outputFolder: config.output.folder };
  for (const { kind, use, path } of collectUses(config)) {
    const plugin = plugins.find((named) => named.use === use && named.plugin.kind === kind)?.plugin;
    const optionsPath = [...path, 'options'];
    try {
      plugin?.checkOptions?.(valueAt(config, optionsPath) as never, context);
    } catch (error) {
      throw isWhetstoneError(error) ? WhetstoneError.with(error, { place: locate(optionsPath) }) : error;
    }
  }
}

/** Adds a hint with the correct path to an unknown key that is not similar to a key of the same object. */
function withPathHint(
  problem: ConfigProblem,
  written: unknown,
  schema: unknown,
  hints: ReadonlyMap<string, string>,
): ConfigProblem {
  const unknown = problem.unknownKey;
  const known = hints.get(formatPath(problem.path));
  if (unknown !== undefined && known !== undefined) return { ...problem, hint: known };
  if (unknown === undefined || unknown.path.length > 1 || nearest(unknown.key, unknown.known) !== undefined)
    return problem;
  const hint = pathHint(unknown.key, valueAt(written, [...unknown.path, unknown.key]), schema);
  return hint === undefined ? problem : { ...problem, hint };
}

/** Throws one error with all problems, or returns if there are none. */
function throwProblems(
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
      expected: error.expected,
      found: error.found,
      hint: error.hint,
    })),
    ...problems.map(({ message, expected, found, hint, path }): Problem => ({
      message,
      place: locate(path),
      expected,
      found,
      hint,
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

/** Sorts problems by line and column, if the configuration is a file. Problems without a line (overrides) are last. */
function inFileOrder(problems: readonly Problem[]): readonly Problem[] {
  const rank = ({ place }: Problem) => (place?.line ?? Infinity) * 1e6 + (place?.column ?? 0);
  return problems.some(({ place }) => place?.line !== undefined)
    ? problems.toSorted((a, b) => (rank(a) === rank(b) ? 0 : rank(a) - rank(b)))
    : problems;
}

/** Keys that are read only if another key has a certain value. */
const conditions: readonly {
  readonly key: readonly [section: string, key: string];
  readonly on: Path;
  readonly isMet: (value: unknown) => boolean;
  /** Describes the required value of `on`. */
  readonly condition: string;
}[] = [
  {
    key: ['training', 'evalSteps'],
    on: ['training', 'evalStrategy'],
    isMet: (value) => value === 'steps',
    condition: '"steps"',
  },
  {
    key: ['training', 'saveSteps'],
    on: ['training', 'saveStrategy'],
    isMet: (value) => value === 'steps',
    condition: '"steps"',
  },
  {
    key: ['training', 'greaterIsBetter'],
    on: ['training', 'loadBestModelAtEnd'],
    isMet: (value) => value === true,
    condition: 'true',
  },
  ...(['replies', 'maxNewTokens'] as const).map((key) => ({
    key: ['evaluation', key] as const,
    on: ['evaluation', 'metrics'],
    isMet: (value: unknown) => Array.isArray(value) && value.length > 0,
    condition: 'at least one metric',
  })),
  {
    key: ['training', 'metricForBestModel'],
    on: ['training', 'loadBestModelAtEnd'],
    isMet: (value) => value === true,
    condition: 'true',
  },
];

/** Returns the problems of a configuration that matches the schema but contradicts itself. */
function checkConditions(config: unknown, written: unknown, schema: JsonSchema): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = conditions.flatMap(({ key, on, isMet, condition }) => {
    const value = valueAt(config, on);
    const own = valueAt(written, key);
    const byDefault = valueAt(schema, ['properties', key[0], 'properties', key[1], 'default']);
    return own === undefined || own === byDefault || isMet(value)
      ? []
      : [
          {
            path: key,
            message: `${formatPath(key)} has no effect.`,
            expected: `${formatPath(on)}: ${condition}`,
            found: describeValue(value),
            hint: `Remove ${key[1]}, or set ${formatPath(on)}.`,
          },
        ];
  });
  const strategy = valueAt(config, ['training', 'evalStrategy']);
  const evalShare = valueAt(config, ['data', 'evalShare']);
  const evalSource = valueAt(config, ['data', 'eval']);
  const evaluation = evalSource ?? evalShare;
  if (typeof evalShare === 'number' && evalSource !== undefined && evalSource !== null) {
    problems.push({
      path: ['data', 'evalShare'],
      message: 'data.eval and data.evalShare cannot be combined.',
      expected: 'one of them',
      found: describeValue(evalShare),
      hint: 'Remove data.evalShare, or data.eval.',
    });
  }
  if (strategy !== 'no' && (evaluation === undefined || evaluation === null)) {
    problems.push({
      path: ['training', 'evalStrategy'],
      message: 'The run evaluates, but has no evaluation data.',
      expected: 'data.eval or data.evalShare',
      found: 'nothing',
      hint: 'Set data.eval or data.evalShare, or set training.evalStrategy to "no".',
    });
  }
  const metrics = valueAt(config, ['evaluation', 'metrics']);
  if (Array.isArray(metrics) && metrics.length > 0 && (evaluation === undefined || evaluation === null)) {
    problems.push({
      path: ['evaluation', 'metrics'],
      message: 'The metrics require evaluation data.',
      expected: 'data.eval or data.evalShare',
      found: 'nothing',
    });
  }
  const best = valueAt(config, ['training', 'loadBestModelAtEnd']);
  if (best === true && strategy === 'no') {
    problems.push({
      path: ['training', 'loadBestModelAtEnd'],
      message: 'The best weights cannot be determined without evaluation.',
      expected: 'training.evalStrategy: "steps" or "epoch"',
      found: '"no"',
    });
  }
  return problems;
}

/** The strategies that train no stored weight of a linear layer, only what they add. */
const freezing: readonly unknown[] = ['lora', 'qlora'];

/**
 * Returns the default of `model.dtype`. Products in bfloat16 round frozen weights at every use; weights that the file
 * stores in bfloat16 need no rounding if they stay in that format. Tokens that are added extend the embedding.
 */
function defaultDtype(
  backend: { readonly [key: string]: unknown },
  strategy: { readonly [key: string]: unknown },
  addTokens: unknown,
): ResolvedConfig['model']['dtype'] {
  const addsTokens = Array.isArray(addTokens) && addTokens.length > 0;
  return backend['matmul'] === 'bfloat16' && freezing.includes(strategy['use']) && !addsTokens ? 'auto' : 'float32';
}

/** Returns the final form of a validated configuration: every key is present, and paths are absolute. */
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
      dtype: model['dtype'] ?? defaultDtype(section('backend'), section('strategy'), model['addTokens']),
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
        output['folder'] === null && valueAt(raw.value, ['output', 'folder']) !== null
          ? outputFolderOf(raw, undefined)
          : outputFolderOf(raw, output['folder']),
    },
  } as unknown as ResolvedConfig;
}

/**
 * Returns the absolute output folder of a configuration; null if it writes nothing. A configuration file that names
 * none has the folder `runs/` and the name of the file.
 */
export function outputFolderOf({ file, baseFolder }: RawConfig, folder: unknown): string | null {
  if (typeof folder === 'string') return resolve(baseFolder, folder);
  if (folder === null || file === null) return null;
  return resolve(baseFolder, 'runs', basename(file).replace(/\.[^.]+$/, ''));
}

/** Returns an absolute path if `path` is the path of a folder, otherwise the name for the model loader. */
function modelPath(path: unknown, baseFolder: string): string | null {
  if (typeof path !== 'string') return null;
  const file = resolve(baseFolder, path);
  return isAbsolute(path) || path.startsWith('.') || existsSync(file) ? file : path;
}
