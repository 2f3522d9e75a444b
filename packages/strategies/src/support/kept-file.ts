import { resolve } from 'node:path';
import { WhetstoneError, type PluginContext } from '@whetstone/core/contract';
import { isWithin } from '@whetstone/core/files';

/**
 * Checks the path of a file that a run writes for later ones.
 *
 * @param option the option with the path, such as `fisherFile`
 * @throws `CONFIG_CONFLICT` if it is in the output folder of the run, which later runs replace
 */
export function checkKeptFile(
  option: string,
  path: string | undefined,
  { baseFolder, outputFolder }: Pick<PluginContext, 'baseFolder' | 'outputFolder'>,
): void {
  if (path === undefined || outputFolder === null || !isWithin(outputFolder, resolve(baseFolder, path))) return;
  throw new WhetstoneError('CONFIG_CONFLICT', `${option} is in the output folder of the run.`, {
    expected: 'a file outside of output.folder: later runs read it, and may replace that folder',
    found: path,
  });
}
