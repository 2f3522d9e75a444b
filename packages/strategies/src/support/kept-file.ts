import { resolve } from 'node:path';
import { WhetstoneError, type PluginContext } from '@whetstone/core/contract';
import { isWithin } from '@whetstone/core/files';

/**
 * Returns the absolute path of a file that a run writes for later ones.
 *
 * @param option the option with the path, such as `fisherFile`
 * @throws `CONFIG_CONFLICT` if it is in the output folder of the run, which later runs replace
 */
export function keptFile(
  option: string,
  path: string,
  { baseFolder, outputFolder }: Pick<PluginContext, 'baseFolder' | 'outputFolder'>,
): string {
  const file = resolve(baseFolder, path);
  if (outputFolder === null || !isWithin(outputFolder, file)) return file;
  throw new WhetstoneError('CONFIG_CONFLICT', `${option} is in the output folder of the run.`, {
    place: { path: 'companions' },
    expected: 'a file outside of output.folder: later runs read it, and may replace that folder',
    found: path,
  });
}
