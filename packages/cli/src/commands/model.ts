import { publishedModels } from '@whetstone/backend';
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
    terminal.line(`${name} is in ${folder}`);
    terminal.result({ name, folder });
  } finally {
    progress.close();
    interrupt.close();
  }
}

/** `whetstone model list`: what is fetched, and what can be. */
export async function modelList(options: { readonly json?: boolean }): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const present = await fetchedModels();
  const rows = [
    ...present.map((name) => ({
      name,
      fetched: true,
      folder: fetchedModelFolder(name),
      description: publishedModels[name]?.description ?? '',
    })),
    ...Object.values(publishedModels)
      .filter(({ name }) => !present.includes(name))
      .map(({ name, description, licence }) => ({
        name,
        fetched: false,
        folder: null,
        description: `${description} (${licence})`,
      })),
  ];
  terminal.line(
    table(
      rows.map(({ name, fetched, folder, description }) => [
        name,
        fetched ? 'fetched' : 'can be fetched',
        folder ?? description,
      ]),
    ),
  );
  terminal.result(rows);
}
