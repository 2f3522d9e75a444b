import { Ajv2020 } from 'ajv/dist/2020.js';
import type {
  AdapterFormat,
  Json,
  JsonSchema,
  PluginContext,
  PluginInstances,
  PluginKind,
} from '@whetstone/core/contract';

/** What the suites need of a plugin: its declaration, with options as plain data. */
export interface TestedPlugin<K extends PluginKind> {
  readonly apiVersion: number;
  readonly kind: K;
  readonly name: string;
  readonly configSchema: JsonSchema;
  /** Creates the plugin's instance from options that were validated, with defaults filled in. */
  create(options: never, context: PluginContext): PluginInstances[K] | Promise<PluginInstances[K]>;
  /** For strategies: reads and merges the adapters that the strategy exports. */
  readonly adapter?: AdapterFormat;
}

/** Options of a plugin, as a configuration holds them. */
export type Options = Readonly<Record<string, Json>>;

/**
 * Validates options against the plugin's schema and fills in its defaults, as a run does.
 *
 * @throws `Error` if the options do not fit the schema
 */
export function resolveOptions(schema: JsonSchema, options: Options): Options {
  const ajv = new Ajv2020({ allErrors: true, useDefaults: true, strict: false });
  const resolved = structuredClone(options);
  if (!ajv.validate(schema, resolved)) throw new Error(ajv.errorsText(ajv.errors));
  return resolved;
}

const silent = (): void => {};

/** A context that logs nothing and writes nowhere. */
export const testContext: PluginContext = {
  logger: { debug: silent, info: silent, warn: silent, error: silent },
  seed: 7,
  baseFolder: process.cwd(),
  outputFolder: null,
};

/** Creates the plugin's instance from options as a configuration would hold them. */
export async function createFrom<K extends PluginKind>(
  plugin: TestedPlugin<K>,
  options: Options,
  context: PluginContext = testContext,
): Promise<PluginInstances[K]> {
  return plugin.create(resolveOptions(plugin.configSchema, options) as never, context);
}
