import { ownValue } from '@whetstone/core/util';
import { publishedModels } from '@whetstone/backend/install';
import { fetchedModelFolder, fetchedModels, fetchModel } from '../fetched-models.js';
import { table } from '../format.js';
import { listenForInterrupt } from '../interrupt.js';
import { installProgress } from '../progress.js';
import { createTerminal } from '../terminal.js';

/** `whetstone model fetch NAME`. */
export async function modelFetch(name: string, options: { readonly json?: boolean }): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const interrupt = listenForInterrupt(() => terminal.complain('Stopping.'));
  const progress = installProgress(terminal, interrupt.signal);
  try {
    const folder = await fetchModel(name, progress);
    progress.close();
    const precision = ownValue(publishedModels, name)?.precision ?? null;
    terminal.line(`${name} is in ${folder}${precision === null ? '' : `: ${precision}`}`);
    terminal.result({ name, folder, precision });
  } finally {
    progress.close();
    interrupt.close();
  }
}

/** `whetstone model list`: lists downloaded models, and those that can be downloaded. */
export async function modelList(options: { readonly json?: boolean }): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const present = await fetchedModels();
  const rows = [
    ...present.map((name) => ({
      name,
      fetched: true,
      folder: fetchedModelFolder(name),
      description: describe(name),
    })),
    ...Object.values(publishedModels)
      .filter(({ name }) => !present.includes(name))
      .map(({ name }) => ({ name, fetched: false, folder: null, description: describe(name) })),
  ];
  terminal.line(
    table(
      rows.map(({ name, fetched, folder, description }) => [
        name,
        fetched ? 'fetched' : 'can be fetched',
        [description, folder].filter(Boolean).join('; '),
      ]),
    ),
  );
  terminal.result(rows);
}

/** Size, precision and licence of a published model. Empty for other folders in the cache. */
function describe(name: string): string {
  const published = ownValue(publishedModels, name);
  return published === undefined ? '' : `${published.description}; ${published.precision}; ${published.licence}`;
}
