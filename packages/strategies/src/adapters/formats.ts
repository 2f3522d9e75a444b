import { join } from 'node:path';
import {
  WhetstoneError,
  type AdapterFiles,
  type AdapterFormat,
  type Json,
  type Plugin,
} from '@whetstone/core/contract';
import { exists, readTextSync } from '@whetstone/core/files';
import { isRecord } from '@whetstone/core/util';
import { furtherFormats, strategies } from '../plugins.js';
import { configFile, peftTypeOf } from './adapter-files.js';

const formatsOf = (plugins: readonly Plugin[]): readonly AdapterFormat[] => [
  ...new Set([...furtherFormats, ...[...strategies, ...plugins].flatMap(({ adapter }) => adapter ?? [])]),
];

/**
 * Returns the format of an adapter: that of the strategy plugin that reads its `peft_type`, or one that no strategy
 * trains.
 *
 * @param plugins plugins in addition to the built-in ones
 * @throws `ADAPTER_INVALID` if no strategy reads the type
 * @throws `PLUGIN_CONFLICT` if several do
 */
export function formatOf(files: AdapterFiles, plugins: readonly Plugin[]): AdapterFormat {
  const type = peftTypeOf(files);
  const known = formatsOf(plugins);
  const [format, other] = known.filter(({ peftTypes }) => peftTypes.some((name) => name === type));
  const place = { file: configFile(files.folder), path: 'peft_type' };
  if (format === undefined)
    throw new WhetstoneError('ADAPTER_INVALID', 'No known strategy reads adapters of this type.', {
      place,
      expected: known.flatMap(({ peftTypes }) => peftTypes).join(', '),
      found: type ?? 'nothing',
      hint: unknownTypeHint(files.folder),
    });
  if (other !== undefined)
    throw new WhetstoneError('PLUGIN_CONFLICT', 'Several strategies read adapters of this type.', {
      place,
      expected: 'one strategy with this type in adapter.peftTypes',
      found: type ?? 'nothing',
      hint: 'Pass only the plugin of the strategy that trained the adapter, with a type of its own.',
    });
  return format;
}

/** Returns whether a strategy reads an adapter: a built-in one, or one of the plugins. */
export function isRead(config: Json, plugins: readonly Plugin[]): boolean {
  const type = isRecord(config) ? config['peft_type'] : undefined;
  return formatsOf(plugins).some(({ peftTypes }) => peftTypes.some((name) => name === type));
}

/** Returns how to name the strategy that trained an adapter, which the adapter or its run may have recorded. */
function unknownTypeHint(folder: string | undefined): string {
  const origin = folder === undefined ? null : strategyOfAdapter(folder);
  const trained =
    origin === null
      ? ''
      : ` The adapter was trained with the strategy "${origin.use}"` +
        `${origin.version === null ? '' : ` of version ${origin.version}`}.`;
  return (
    'Install the package of the strategy that trained the adapter, if you trust its author, and name it with ' +
    `--plugin; an application passes the plugin to the function.${trained}`
  );
}

/** The strategy that trained an adapter. */
export interface AdapterOrigin {
  /** The name in the configuration of the run: a package, a file or a registered name. */
  readonly use: string;
  readonly version: string | null;
}

/**
 * Returns the strategy that `whetstone.json` of an adapter folder names, or the configuration of the run that wrote the
 * folder; null if there is neither.
 *
 * @throws the errors of `fileError` if one of the files cannot be read
 */
export function strategyOfAdapter(folder: string): AdapterOrigin | null {
  for (const name of ['whetstone.json', 'config.resolved.json', '../config.resolved.json']) {
    const file = join(folder, name);
    const content = exists(file) ? parseJson(readTextSync(file)) : null;
    const strategy = isRecord(content) ? content['strategy'] : null;
    if (!isRecord(strategy) || typeof strategy['use'] !== 'string') continue;
    return { use: strategy['use'], version: typeof strategy['version'] === 'string' ? strategy['version'] : null };
  }
  return null;
}

/** Returns a JSON value; null if the text is not JSON: the file was not written by a run. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}
