import type { DataTransform, Json } from '@whetstone/core/contract';
import { decontaminate } from './decontaminate/plugin.js';
import { deduplicate } from './duplicates/plugin.js';
import { normalizeText } from './normalize/plugin.js';
import { qualityFilter } from './quality/plugin.js';
import { redact } from './redact/plugin.js';
import { topics } from './topics/plugin.js';

/** All cleaning transforms. */
export const transformPlugins = [normalizeText, qualityFilter, redact, deduplicate, decontaminate, topics] as const;

/** Creates a built-in transform on a worker thread, from the name and options of its plugin. */
export function remakeTransform(argument: Json): DataTransform | Promise<DataTransform> {
  const { use, options, baseFolder } = argument as {
    readonly use: string;
    readonly options: Json;
    readonly baseFolder: string;
  };
  const plugin = transformPlugins.find(({ name }) => name === use);
  if (!plugin) throw new Error(`The transform "${use}" does not exist.`);
  const silent = (): void => {};
  const logger = { debug: silent, info: silent, warn: silent, error: silent };
  return plugin.create(options as never, { logger, seed: 0, baseFolder, outputFolder: null });
}
