import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { WhetstoneError, type AdapterFiles, type AdapterFormat, type Plugin } from '@whetstone/core/contract';
import { isRecord } from '@whetstone/core/util';
import { furtherFormats, strategies } from '../plugins.js';
import { configFile, peftTypeOf } from './adapter-files.js';

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
  const known = [
    ...new Set([...furtherFormats, ...[...strategies, ...plugins].flatMap(({ adapter }) => adapter ?? [])]),
  ];
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

/** Returns how to name the strategy. The run that wrote the adapter may have recorded it in the folder above. */
function unknownTypeHint(folder: string | undefined): string {
  const trained = folder === undefined ? null : recordedStrategy(folder);
  return (
    'Install the package of the strategy that trained the adapter, and name it with --plugin; an application passes ' +
    `the plugin to the function.${trained === null ? '' : ` The adapter was trained with the strategy "${trained}".`}`
  );
}

/** Returns the strategy in the configuration of the run that wrote an adapter folder; null if there is none. */
function recordedStrategy(folder: string): string | null {
  for (const parent of ['.', '..']) {
    try {
      const config: unknown = JSON.parse(readFileSync(join(folder, parent, 'config.resolved.json'), 'utf8'));
      const strategy = isRecord(config) ? config['strategy'] : null;
      if (isRecord(strategy) && typeof strategy['use'] === 'string') return strategy['use'];
    } catch {
      // The folder was not written by a run, or was moved.
    }
  }
  return null;
}
