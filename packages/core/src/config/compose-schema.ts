import type { JsonSchema, Plugin, PluginKind } from '../contract/index.js';
import { frameSchema, type SlotOptions } from './frame-schema.js';
import { isObject } from './slots.js';

/** A plugin with the value of `use` that selects it: a built-in name, a package or a file. */
export interface NamedPlugin {
  readonly use: string;
  readonly plugin: Plugin;
}

const definitionName = (kind: PluginKind, use: string): string => `${kind} ${use}`;
const pointer = (name: string): string =>
  `#/$defs/${encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1'))}`;

/**
 * Returns the schema of the options as users write them: keys with a default are not required. A plugin's schema may
 * require them, because `create` receives the options after defaults have been filled in. Editors do not fill them in.
 */
function asWritten(schema: JsonSchema): JsonSchema {
  const inner = (value: unknown): unknown =>
    Array.isArray(value) ? value.map(inner) : isObject(value) ? asWritten(value) : value;
  const copy = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, inner(value)]));
  const { required } = schema;
  if (!Array.isArray(required)) return copy;
  const hasDefault = (key: unknown): boolean => Object.hasOwn(properties(schema)[String(key)] ?? {}, 'default');
  return { ...copy, required: required.filter((key) => !hasDefault(key)) };
}

/** Returns the definition of a plugin's options. A schema with references gets an `$id`, so that they still resolve. */
function definitionOf({ use, plugin }: NamedPlugin): JsonSchema {
  const schema = asWritten(plugin.configSchema);
  const refersToItself = JSON.stringify(schema).includes('"$ref"');
  return refersToItself && schema['$id'] === undefined
    ? { $id: `whetstone:${encodeURIComponent(definitionName(plugin.kind, use))}`, ...schema }
    : schema;
}

function properties(schema: JsonSchema): { readonly [key: string]: JsonSchema } {
  return isObject(schema['properties']) ? (schema['properties'] as { readonly [key: string]: JsonSchema }) : {};
}

/** Returns a schema with `if` and `then`. Linters take an object with a literal `then` key for a promise. */
const implication = (condition: JsonSchema, consequence: JsonSchema): JsonSchema => {
  const [ifKey, thenKey] = ['if', 'then'] as const;
  return { [ifKey]: condition, [thenKey]: consequence };
};

/** Returns the schema that applies to a slot if its `use` selects this plugin. */
function branch({ use, plugin }: NamedPlugin, { flatProperties, defaultUse }: SlotOptions): JsonSchema {
  const described = plugin.description === undefined ? {} : { description: plugin.description };
  const schema = asWritten(plugin.configSchema);
  const consequence = {
    ...described,
    ...(flatProperties === undefined
      ? { properties: { options: { $ref: pointer(definitionName(plugin.kind, use)), default: {} } } }
      : {
          ...schema,
          properties: { use: true, ...flatProperties, ...properties(schema) },
          additionalProperties: false,
        }),
  };
  return implication(
    { type: 'object', properties: { use: { const: use } }, ...(use === defaultUse ? {} : { required: ['use'] }) },
    consequence,
  );
}

function slotSchema(kind: PluginKind, plugins: readonly NamedPlugin[], options: SlotOptions): JsonSchema {
  const own = plugins.filter(({ plugin }) => plugin.kind === kind);
  const { description, defaultUse, flatProperties, shortForms = [] } = options;
  const use = {
    type: kind === 'model' ? ['string', 'null'] : 'string',
    minLength: 1,
    description: 'The name of a built-in plugin, an npm package, or a local file, for example ./mine.ts.',
    ...(own.length > 0 ? { anyOf: [{ enum: own.map((plugin) => plugin.use) }, { type: 'string' }] } : {}),
    ...(defaultUse === undefined ? {} : { default: defaultUse }),
  };
  const path = {
    type: 'string',
    minLength: 1,
    description: 'The folder of the model, or the name of a fetched model.',
  };
  const dtype = {
    type: 'string',
    enum: ['float32', 'bfloat16', 'auto'],
    description:
      'The format of weights on the device: float32; bfloat16 (rounded); auto: bfloat16 for weights that the file ' +
      'stores as bfloat16, which changes no number. Default: auto with backend.matmul "bfloat16" and the strategy ' +
      'lora or qlora, unless tokens are added; otherwise float32.',
  };
  const addTokens = {
    type: 'array',
    items: { type: 'string', minLength: 1 },
    description:
      'Tokens to add to the vocabulary if it lacks them, for example ["<|customer|>"]. Their embeddings start as the ' +
      'mean of all others and are trained, also with LoRA.',
  };
  return {
    ...(description === undefined ? {} : { description }),
    type: ['object', ...shortForms],
    ...(shortForms.includes('string') ? { minLength: 1 } : {}),
    ...(shortForms.includes('array') ? { items: { type: 'string', minLength: 1 }, minItems: 1 } : {}),
    properties:
      flatProperties === undefined
        ? { use, ...(kind === 'model' ? { path, dtype, addTokens } : {}), options: { type: 'object' } }
        : { use },
    ...(flatProperties === undefined ? { additionalProperties: false } : {}),
    ...(kind === 'model' ? { minProperties: 1 } : {}),
    ...(defaultUse === undefined ? {} : { default: {} }),
    ...(kind !== 'model' && defaultUse === undefined ? { required: ['use'] } : {}),
    ...(own.length > 0 ? { allOf: own.map((plugin) => branch(plugin, options)) } : {}),
  };
}

/** Returns {@link composeSchema} for editors: keys that the stages can set are not required outside of `stages`. */
export function editorSchema(plugins: readonly NamedPlugin[]): JsonSchema {
  const { required, ...schema } = composeSchema(plugins);
  const [ifKey, elseKey] = ['if', 'else'] as const;
  const { data, ...properties } = schema['properties'] as { readonly [key: string]: JsonSchema };
  const { required: requiredData, ...looseData } = data ?? {};
  return {
    ...schema,
    properties: { ...properties, data: looseData },
    required: ['model'],
    [ifKey]: { required: ['stages'] },
    [elseKey]: { required: required ?? [], properties: { data: { required: requiredData ?? [] } } },
  };
}

/**
 * Returns the JSON Schema (draft 2020-12) of a complete configuration, including the options of the given plugins. Used
 * for validation and by editors.
 */
export function composeSchema(plugins: readonly NamedPlugin[]): JsonSchema {
  const definitions = plugins.filter(({ plugin }) => plugin.kind !== 'optimizer' && plugin.kind !== 'schedule');
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'Configuration of a Whetstone run',
    ...frameSchema((kind, options = {}) => slotSchema(kind, plugins, options)),
    $defs: Object.fromEntries(
      definitions.map((named) => [definitionName(named.plugin.kind, named.use), definitionOf(named)]),
    ),
  };
}
