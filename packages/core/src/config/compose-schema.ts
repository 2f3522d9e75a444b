import type { JsonSchema, Plugin, PluginKind } from '../contract/index.js';
import { frameSchema, type SlotOptions } from './frame-schema.js';
import { isObject } from './slots.js';

/** A plugin under the name by which configurations call it: its own, a package's or a file's. */
export interface NamedPlugin {
  readonly use: string;
  readonly plugin: Plugin;
}

const definitionName = (kind: PluginKind, use: string): string => `${kind} ${use}`;
const pointer = (name: string): string =>
  `#/$defs/${encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1'))}`;

/**
 * What has a default need not be written. Plugins name such keys as required all the same, because their `create` gets
 * every one of them: validation fills defaults in, but editors do not.
 */
function asWritten(schema: JsonSchema): JsonSchema {
  const inner = (value: unknown): unknown =>
    Array.isArray(value) ? value.map(inner) : isObject(value) ? asWritten(value) : value;
  const copy = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, inner(value)]));
  const { required } = schema;
  if (!Array.isArray(required)) return copy;
  const open = (key: unknown): boolean => Object.hasOwn(properties(schema)[String(key)] ?? {}, 'default');
  return { ...copy, required: required.filter((key) => !open(key)) };
}

/**
 * A schema with references of its own becomes a resource of its own, so that they still point where its author meant.
 */
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

/** JSON Schema's `if` and `then`. (An object with a literal `then` key looks like a promise to linters.) */
const implication = (condition: JsonSchema, consequence: JsonSchema): JsonSchema => {
  const [whenever, follows] = ['if', 'then'] as const;
  return { [whenever]: condition, [follows]: consequence };
};

/** What must hold at a place whose `use` is this plugin. */
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
    description: 'A built-in name, an npm package, or a local file as ./mine.ts.',
    ...(own.length > 0 ? { anyOf: [{ enum: own.map((plugin) => plugin.use) }, { type: 'string' }] } : {}),
    ...(defaultUse === undefined ? {} : { default: defaultUse }),
  };
  const path = { type: 'string', minLength: 1, description: 'The folder of the model, or the name of a fetched one.' };
  const dtype = {
    type: 'string',
    enum: ['float32', 'bfloat16', 'auto'],
    description:
      'How weights are kept on the device: float32, the default; bfloat16, rounded; auto, bfloat16 where the ' +
      'file has it, which changes no number.',
  };
  const addTokens = {
    type: 'array',
    items: { type: 'string', minLength: 1 },
    description:
      'Tokens that the vocabulary gets where it has them not, as ["<|customer|>"]: read as wholes; their ' +
      'embeddings start as the mean of all others and are trained, under LoRA too.',
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

/** {@link composeSchema} as an editor wants it: what each stage may say for itself need not stand beside the stages. */
export function editorSchema(plugins: readonly NamedPlugin[]): JsonSchema {
  const { required, ...schema } = composeSchema(plugins);
  const otherwise: JsonSchema = { required: required ?? [] };
  const [whenever, orElse] = ['if', 'else'] as const;
  const { data, ...properties } = schema['properties'] as { readonly [key: string]: JsonSchema };
  const { required: ofData, ...looseData } = data ?? {};
  return {
    ...schema,
    properties: { ...properties, data: looseData },
    required: ['model'],
    [whenever]: { required: ['stages'] },
    [orElse]: { ...otherwise, properties: { data: { required: ofData ?? [] } } },
  };
}

/**
 * One JSON Schema (draft 2020-12) of a whole configuration: the frame, and each plugin's own schema where its `use` is
 * named. Validation uses it, and editors complete by it.
 */
export function composeSchema(plugins: readonly NamedPlugin[]): JsonSchema {
  const definitions = plugins.filter(({ plugin }) => plugin.kind !== 'optimizer' && plugin.kind !== 'schedule');
  return {
    $schema: 'https://json-schema.org/draft/2020-12/schema',
    title: 'A Whetstone run',
    ...frameSchema((kind, options = {}) => slotSchema(kind, plugins, options)),
    $defs: Object.fromEntries(
      definitions.map((named) => [definitionName(named.plugin.kind, named.use), definitionOf(named)]),
    ),
  };
}
