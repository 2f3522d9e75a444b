import type { DataTransform, Json } from '@whetstone/core/contract';
import { decontaminatePlugin } from './decontaminate/plugin.js';
import { deduplicatePlugin } from './duplicates/plugin.js';
import { normalizeTextPlugin } from './normalize/plugin.js';
import { qualityFilterPlugin } from './quality/plugin.js';
import { redactPlugin } from './redact/plugin.js';
import { topicsPlugin } from './topics/plugin.js';

/** Every cleaning transform. */
export const transformPlugins = [
  normalizeTextPlugin,
  qualityFilterPlugin,
  redactPlugin,
  deduplicatePlugin,
  decontaminatePlugin,
  topicsPlugin,
] as const;

/** Makes the transform of a recipe, on a worker thread: a built-in one by its plugin's name. */
export function remakeTransform(argument: Json): DataTransform | Promise<DataTransform> {
  const { use, options, baseFolder } = argument as {
    readonly use: string;
    readonly options: Json;
    readonly baseFolder: string;
  };
  const plugin = transformPlugins.find(({ name }) => name === use);
  if (!plugin) throw new Error(`There is no transform "${use}".`);
  const silent = (): void => {};
  const logger = { debug: silent, info: silent, warn: silent, error: silent };
  return plugin.create(options as never, { logger, seed: 0, baseFolder, outputFolder: null });
}
