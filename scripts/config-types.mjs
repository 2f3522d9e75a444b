// Generates packages/cli/src/config-types.ts, the types of a configuration with the options of all built-in plugins,
// from the JSON Schema that `whetstone schema` prints. Run it after a change of a schema: npm run config-types.
import { readFile, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { compile } from 'json-schema-to-typescript';
import { parseSync } from 'oxc-parser';
import { format } from 'oxfmt';

const FILE = fileURLToPath(new URL('../packages/cli/src/config-types.ts', import.meta.url));
const LAYOUT = new URL('../.oxfmtrc.json', import.meta.url);
const FLAT = ['optimizer', 'schedule'];

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The branches of a key that names a plugin: one for each built-in plugin. Undefined for other schemas. */
const branchesOf = (schema) =>
  Array.isArray(schema.allOf) && schema.allOf.every((branch) => branch.if?.properties?.use !== undefined)
    ? schema.allOf
    : undefined;
const useOf = (branch) => branch.if.properties.use.const;

/** Returns the type of a key that names a plugin, or undefined. */
function referenceType(schema, key) {
  if (FLAT.includes(key)) return `FlatPluginReference<'${key}', '${key === 'optimizer' ? 'adamw' : 'linear'}'>`;
  const reference = branchesOf(schema)?.[0]?.then?.properties?.options?.$ref;
  if (reference === undefined) return undefined;
  const [kind] = decodeURIComponent(reference.replace('#/$defs/', '')).split(' ');
  if (kind === 'model') return undefined;
  const forms = Array.isArray(schema.type) ? schema.type : [schema.type];
  // A string is a path where data is read, and elsewhere the name of a plugin.
  if (kind === 'data-source')
    return [
      `LongPluginReference<'${kind}'>`,
      ...(forms.includes('string') ? ['string'] : []),
      ...(forms.includes('array') ? ['readonly string[]'] : []),
      ...(forms.includes('null') ? ['null'] : []),
    ].join(' | ');
  return forms.includes('string') ? `PluginReference<'${kind}'>` : `LongPluginReference<'${kind}'>`;
}

/** Returns the description with the default, which editors show. */
function documented({ description, default: value }) {
  const written = JSON.stringify(value) ?? 'null';
  // A list that is longer than a line is in the schema.
  const isTold = !['null', '{}'].includes(written) && written.length <= 80;
  const lines = [description, ...(isTold ? [`@default ${written}`] : [])];
  return lines.filter((line) => line !== undefined).join('\n\n');
}

/** Returns a schema with what the compiler reads, and the types that it cannot infer. */
function prepared(schema, key) {
  if (!isObject(schema)) return schema;
  const description = documented(schema);
  const more = description === '' ? {} : { description };
  const tsType = referenceType(schema, key);
  if (tsType !== undefined) return { ...more, tsType };
  const { properties, items, additionalProperties, anyOf, oneOf, type, enum: members, required } = schema;
  const kept = { ...more, type, enum: members, const: schema.const, required };
  if (members !== undefined) delete kept.type;
  if (key === 'options' && properties === undefined) return { ...more, tsType: 'Readonly<Record<string, Json>>' };
  if (properties !== undefined && Object.keys(properties).length === 0)
    return { ...more, tsType: 'Readonly<Record<string, never>>' };
  if (properties !== undefined) {
    kept.properties = Object.fromEntries(
      Object.entries(properties).map(([name, each]) => [name, prepared(each, name)]),
    );
    kept.additionalProperties = false;
  }
  if (isObject(additionalProperties)) kept.additionalProperties = prepared(additionalProperties);
  if (items !== undefined) kept.items = prepared(items);
  const choices = [anyOf, oneOf].flatMap((list) =>
    (list ?? []).filter((each) => 'type' in each || 'enum' in each || 'const' in each),
  );
  if (choices.length > 0 && properties === undefined) {
    kept.anyOf = choices.map((each) => prepared(each));
    delete kept.type;
  }
  return Object.fromEntries(Object.entries(kept).filter(([, value]) => value !== undefined));
}

/** Marks every list as readonly: a configuration may be a constant. */
function withReadonlyLists(code) {
  const starts = [];
  const visit = (node) => {
    if (Array.isArray(node)) return node.forEach(visit);
    if (!isObject(node)) return;
    if (node.type === 'TSArrayType') starts.push([node.start, node.end]);
    Object.values(node).forEach(visit);
  };
  visit(parseSync('types.ts', code).program);
  let text = code;
  const inner = (start, end) => starts.some(([from, to]) => from === start && to < end);
  for (const [start, end] of starts.toSorted(([a], [b]) => b - a)) {
    if (inner(start, end)) throw new Error(`A list of lists needs parentheses: ${code.slice(start, end)}`);
    if (code.slice(start - 9, start) !== 'readonly ') text = `${text.slice(0, start)}readonly ${text.slice(start)}`;
  }
  return text;
}

const withReadonlyKeys = (code) => code.replaceAll(/^(\s*)((?:'[^']+'|"[^"]+"|[\w$]+)\??: )/gm, '$1readonly $2');

async function typesOf(schema, name) {
  const code = await compile(schema, name, {
    bannerComment: '',
    format: false,
    ignoreMinAndMaxItems: true,
    unknownAny: true,
  });
  return withReadonlyKeys(withReadonlyLists(code));
}

/** The schemas of the options of all built-in plugins, by kind and name. */
function optionsOf(schema) {
  const flat = FLAT.flatMap((kind) =>
    branchesOf(schema.properties[kind]).map((branch) => {
      const { use: _, ...properties } = branch.then.properties;
      return [`${kind} ${useOf(branch)}`, { ...branch.then, type: 'object', properties }];
    }),
  );
  return Object.entries(schema.$defs).concat(flat);
}

/** Returns the text of the file for a schema that `editorSchema` made. */
export async function configTypes(schema) {
  const options = optionsOf(schema).map(([key, each]) => [key, { ...prepared(each), description: undefined }]);
  const plugins = await typesOf(
    {
      type: 'object',
      additionalProperties: false,
      required: options.map(([key]) => key),
      properties: Object.fromEntries(options),
    },
    'PluginOptions',
  );
  const frame = await typesOf(prepared({ ...schema, title: undefined, description: undefined }), 'TrainerConfig');
  const text = `// Generated by scripts/config-types.mjs from the JSON Schemas. Do not edit.
import type { FlatPluginReference, Json, LongPluginReference, PluginReference } from '@whetstone/core/contract';

declare module '@whetstone/core/contract' {
${plugins.replace('export interface', 'interface')}
}

/**
 * A configuration as users write it, with the options of all built-in plugins and of those that
 * the interface PluginOptions lists. Values are checked when a run starts.
 */
${frame}`;
  return formatted(text);
}

/** Formats code as `npm run format` does. One pass may leave comments that the next one wraps. */
async function formatted(text) {
  const { $schema: _, ignorePatterns: _ignored, ...layout } = JSON.parse(await readFile(LAYOUT, 'utf8'));
  const { code, errors } = await format(FILE, text, layout);
  if (errors.length > 0) throw new Error(errors.map(({ message }) => message).join('\n'));
  return code === text ? code : formatted(code);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [{ editorSchema }, { builtInPlugins }] = await Promise.all([
    import('../packages/core/dist/config/index.js'),
    import('../packages/cli/dist/built-ins.js'),
  ]);
  const schema = editorSchema(builtInPlugins.map((plugin) => ({ use: plugin.name, plugin })));
  await writeFile(FILE, await configTypes(schema));
}
