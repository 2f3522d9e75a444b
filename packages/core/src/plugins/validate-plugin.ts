import { PLUGIN_API_VERSION, WhetstoneError, type Plugin, type PluginKind, type Problem } from '../contract/index.js';
import { didYouMean } from '../config/did-you-mean.js';
import { createAjv, describeValue } from '../config/validate-config.js';
import { isRecord, messageOf } from '../util/index.js';

/** Every kind of plugin, with what it creates: `satisfies` keeps the list whole. */
const kinds = {
  strategy: 'what is trained, and how',
  callback: 'hooks',
  logger: 'hooks that write the run down',
  model: 'a model loader',
  'data-source': 'conversations',
  'data-transform': 'conversations from conversations',
  metric: 'figures',
  optimizer: 'updates from gradients',
  schedule: 'learning rates',
} as const satisfies Record<PluginKind, string>;

const pluginKinds = Object.keys(kinds) as readonly PluginKind[];

const knownKeys = ['apiVersion', 'kind', 'name', 'version', 'description', 'configSchema', 'create'];

function isObject(value: unknown): value is { readonly [key: string]: unknown } {
  return isRecord(value);
}

let shared: ReturnType<typeof createAjv> | undefined;

/**
 * Compiles with one instance for all, which saves most of the time; schemas with names of their own get a fresh one, as
 * names must not repeat.
 */
function compile(schema: { readonly [key: string]: unknown }): void {
  if (JSON.stringify(schema).includes('"$id"')) {
    createAjv().compile(schema);
    return;
  }
  shared ??= createAjv();
  shared.compile(schema);
  shared.removeSchema(schema);
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
      message: 'configSchema must say what becomes of other keys, or misspelled options would pass.',
      expected: '"additionalProperties": false',
      found: 'nothing',
      place: { path: 'configSchema.additionalProperties' },
    };
  }
  try {
    compile(schema);
    return undefined;
  } catch (cause) {
    return {
      message: `configSchema is not a valid JSON Schema: ${messageOf(cause)}`,
      place: { path: 'configSchema' },
    };
  }
}

/** Plugins that were found to be good: compiling a schema takes time, and a program may make many trainers. */
const valid = new WeakSet<object>();

/**
 * Checks what a module exports as a plugin.
 *
 * @param origin where it came from, for the error: a package's or file's name
 * @throws WhetstoneError `PLUGIN_INVALID` with everything that is wrong
 */
export function validatePlugin(value: unknown, origin: string): Plugin {
  if (!isObject(value))
    throw new WhetstoneError('PLUGIN_INVALID', `${origin} does not export a plugin.`, {
      expected: 'an object made by definePlugin',
      found: describeValue(value),
      details: { origin },
    });
  if (valid.has(value)) return value as unknown as Plugin;
  const problems: Problem[] = [];
  const expect = (holds: boolean, path: string, message: string, expected: string, hint?: string) => {
    if (!holds)
      problems.push({
        message,
        expected,
        found: describeValue(value[path]),
        place: { path },
        ...(hint === undefined ? {} : { hint }),
      });
  };
  const kind = value['kind'];
  expect(
    value['apiVersion'] === PLUGIN_API_VERSION,
    'apiVersion',
    'The plugin is made for another version of the plugin interface.',
    String(PLUGIN_API_VERSION),
    'Install versions of the plugin and of Whetstone that fit each other.',
  );
  expect(
    typeof kind === 'string' && kind in kinds,
    'kind',
    'The kind of the plugin is unknown.',
    `one of ${pluginKinds.join(', ')}`,
    typeof kind === 'string' ? didYouMean(kind, pluginKinds) : undefined,
  );
  expect(
    typeof value['name'] === 'string' && /^[\w@][\w@/.-]*$/.test(value['name']),
    'name',
    'The plugin has no proper name.',
    'letters, digits and -_./@',
  );
  expect(typeof value['create'] === 'function', 'create', 'create is not a function.', 'a function (options, context)');
  for (const key of ['version', 'description'])
    expect(value[key] === undefined || typeof value[key] === 'string', key, `${key} is not a string.`, 'a string');
  for (const key of Object.keys(value)) {
    if (!knownKeys.includes(key))
      problems.push({
        message: `Unknown key '${key}'.`,
        place: { path: key },
        hint: didYouMean(key, knownKeys) ?? `Known keys: ${knownKeys.join(', ')}.`,
      });
  }
  const schema = schemaProblem(value['configSchema']);
  if (schema !== undefined) problems.push(schema);
  if (problems.length > 0) {
    const name = typeof value['name'] === 'string' ? ` '${value['name']}'` : '';
    throw new WhetstoneError('PLUGIN_INVALID', `${origin} exports a plugin${name} that cannot be used.`, {
      problems,
      details: { origin },
    });
  }
  valid.add(value);
  return value as unknown as Plugin;
}

/** All plugins that a module's default export holds: one, or an array of them. */
export function pluginsOf(exported: unknown, origin: string): readonly Plugin[] {
  const values: readonly unknown[] = Array.isArray(exported) ? exported : [exported];
  if (values.length === 0)
    throw new WhetstoneError('PLUGIN_INVALID', `${origin} exports an empty list of plugins.`, { details: { origin } });
  return values.map((value) => validatePlugin(value, origin));
}
