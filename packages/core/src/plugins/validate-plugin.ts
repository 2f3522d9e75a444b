import { PLUGIN_API_VERSION, WhetstoneError, type Plugin, type PluginKind, type Problem } from '../contract/index.js';
import { compileSchema, describeValue } from '../config/validate-config.js';
import { didYouMean, isRecord, messageOf } from '../util/index.js';

/**
 * All kinds of plugins, with descriptions of the objects they create. `satisfies` ensures that the list is complete.
 */
const kinds = {
  strategy: 'a training strategy',
  callback: 'hooks',
  logger: 'hooks that record the run',
  model: 'a model loader',
  'data-source': 'a source of conversations',
  'data-transform': 'a transform of conversations',
  metric: 'numbers of an evaluation',
  optimizer: 'parameter updates',
  schedule: 'learning rates',
} as const satisfies Record<PluginKind, string>;

const pluginKinds = Object.keys(kinds) as readonly PluginKind[];

const knownKeys = [
  'apiVersion',
  'kind',
  'name',
  'version',
  'description',
  'configSchema',
  'create',
  'checkOptions',
  'adapter',
];

function isObject(value: unknown): value is { readonly [key: string]: unknown } {
  return isRecord(value);
}

function schemaProblem(schema: unknown): Problem | undefined {
  if (!isObject(schema))
    return {
      message: 'configSchema is not a JSON Schema.',
      expected: 'an object',
      found: describeValue(schema),
      place: { path: 'configSchema' },
    };
  if (schema['type'] !== 'object')
    return {
      message: 'configSchema must describe an object.',
      expected: '"type": "object"',
      found: describeValue(schema['type']),
      place: { path: 'configSchema.type' },
    };
  if (schema['additionalProperties'] === undefined) {
    return {
      message: 'configSchema does not set additionalProperties: misspelled options would be accepted.',
      expected: '"additionalProperties": false',
      found: 'nothing',
      place: { path: 'configSchema.additionalProperties' },
    };
  }
  try {
    compileSchema(schema);
    return undefined;
  } catch (cause) {
    return {
      message: `configSchema is not a valid JSON Schema: ${messageOf(cause)}`,
      place: { path: 'configSchema' },
    };
  }
}

/** The problem of a plugin of version 1: what changed in version 2, and how to upgrade. */
const versionOneProblem: Problem = {
  message:
    'The plugin was written for version 1 of the plugin contract. Version 2 changed the state of callbacks, the ' +
    'requests of Control and the interface of metrics.',
  expected: String(PLUGIN_API_VERSION),
  found: '1',
  place: { path: 'apiVersion' },
  hint:
    'Follow "Upgrading plugins to version 2" in docs/versioning.md, which lists the changes. Set apiVersion to 2. ' +
    "To use somebody else's plugin, install a version of it that supports this version of Whetstone.",
};

const adapterKeys = ['peftTypes', 'load', 'merge'];

/** Returns the problems of the key `adapter`, with which a strategy reads what it exports. */
function adapterProblems(adapter: unknown, kind: unknown): Problem[] {
  if (adapter === undefined) return [];
  const problem = (key: string, message: string, expected: string, found: unknown): Problem => ({
    message,
    expected,
    found: describeValue(found),
    place: { path: key === '' ? 'adapter' : `adapter.${key}` },
  });
  if (kind !== 'strategy') return [problem('', 'Only strategies have an adapter.', 'a plugin of kind strategy', kind)];
  if (!isObject(adapter))
    return [problem('', 'adapter is not an object.', 'an object with peftTypes, load and merge', adapter)];
  const { peftTypes, load, merge } = adapter;
  const areTypes =
    Array.isArray(peftTypes) &&
    peftTypes.length > 0 &&
    peftTypes.every((type) => typeof type === 'string' && type !== '');
  return [
    ...(areTypes
      ? []
      : [problem('peftTypes', 'peftTypes does not list types.', 'a list of values of peft_type', peftTypes)]),
    ...(typeof load === 'function'
      ? []
      : [problem('load', 'load is not a function.', 'a function (model, files)', load)]),
    ...(merge === undefined || typeof merge === 'function'
      ? []
      : [problem('merge', 'merge is not a function.', 'a function (model, files), or nothing', merge)]),
    ...Object.keys(adapter)
      .filter((key) => !adapterKeys.includes(key))
      .map((key) => ({
        message: `Unknown key '${key}'.`,
        place: { path: `adapter.${key}` },
        hint: didYouMean(key, adapterKeys) ?? `Known keys: ${adapterKeys.join(', ')}.`,
      })),
  ];
}

/** Returns the problem of the key `apiVersion`, or nothing. */
function versionProblems(found: unknown): Problem[] {
  if (found === PLUGIN_API_VERSION) return [];
  if (found === 1) return [versionOneProblem];
  return [
    {
      message: 'The plugin was written for a different version of the plugin contract.',
      expected: String(PLUGIN_API_VERSION),
      found: describeValue(found),
      place: { path: 'apiVersion' },
      hint: 'Install compatible versions of the plugin and of Whetstone.',
    },
  ];
}

/** Returns the problem of the key `kind`, or nothing. */
function kindProblems(kind: unknown): Problem[] {
  const isText = typeof kind === 'string';
  if (isText && Object.hasOwn(kinds, kind)) return [];
  return [
    {
      message: isText
        ? `This version of Whetstone does not know plugins of kind '${kind}'.`
        : 'The plugin has no kind.',
      expected: `one of ${pluginKinds.join(', ')}`,
      found: describeValue(kind),
      place: { path: 'kind' },
      hint: isText
        ? (didYouMean(kind, pluginKinds) ?? 'If the kind is from a later version of Whetstone, install that version.')
        : undefined,
    },
  ];
}

/** Returns the problems of the keys with plain values, and of unknown keys. */
function keyProblems(plugin: { readonly [key: string]: unknown }): Problem[] {
  const problems: Problem[] = [];
  const expect = (holds: boolean, path: string, message: string, expected: string): void => {
    if (!holds) problems.push({ message, expected, found: describeValue(plugin[path]), place: { path } });
  };
  const { name } = plugin;
  expect(
    typeof name === 'string' && /^[\w@][\w@/.-]*$/.test(name),
    'name',
    'The plugin has no valid name.',
    'a string of letters, digits and -_./@',
  );
  expect(
    typeof plugin['create'] === 'function',
    'create',
    'create is not a function.',
    'a function (options, context)',
  );
  const { checkOptions } = plugin;
  expect(
    checkOptions === undefined || typeof checkOptions === 'function',
    'checkOptions',
    'checkOptions is not a function.',
    'a function (options, context)',
  );
  for (const key of ['version', 'description'])
    expect(plugin[key] === undefined || typeof plugin[key] === 'string', key, `${key} is not a string.`, 'a string');
  for (const key of Object.keys(plugin)) {
    if (!knownKeys.includes(key))
      problems.push({
        message: `Unknown key '${key}'.`,
        place: { path: key },
        hint: didYouMean(key, knownKeys) ?? `Known keys: ${knownKeys.join(', ')}.`,
      });
  }
  return problems;
}

/** Plugins that have been validated. Compiling a schema takes time, and an application can create many trainers. */
const valid = new WeakSet<object>();

/**
 * Validates a plugin that a module exports, and returns it.
 *
 * @param origin the package or file of the plugin, for error messages
 * @throws `PLUGIN_INVALID` with all problems
 */
export function validatePlugin(value: unknown, origin: string): Plugin {
  if (!isObject(value))
    throw new WhetstoneError('PLUGIN_INVALID', `${origin} does not export a plugin.`, {
      expected: 'the result of definePlugin',
      found: describeValue(value),
      details: { origin },
    });
  if (valid.has(value)) return value as unknown as Plugin;
  const problems = [
    ...versionProblems(value['apiVersion']),
    ...kindProblems(value['kind']),
    ...keyProblems(value),
    ...adapterProblems(value['adapter'], value['kind']),
    ...[schemaProblem(value['configSchema'])].filter((problem) => problem !== undefined),
  ];
  if (problems.length > 0) {
    const name = typeof value['name'] === 'string' ? ` '${value['name']}'` : '';
    throw new WhetstoneError('PLUGIN_INVALID', `The plugin${name} that ${origin} exports is invalid.`, {
      problems,
      details: { origin },
    });
  }
  valid.add(value);
  return value as unknown as Plugin;
}

/** Returns the plugins in a module's default export: a plugin, or a list of plugins. */
export function pluginsOf(exported: unknown, origin: string): readonly Plugin[] {
  const values: readonly unknown[] = Array.isArray(exported) ? exported : [exported];
  if (values.length === 0)
    throw new WhetstoneError('PLUGIN_INVALID', `${origin} exports an empty list of plugins.`, { details: { origin } });
  return values.map((value) => validatePlugin(value, origin));
}
