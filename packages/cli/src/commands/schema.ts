import { resolve } from 'node:path';
import { editorSchema } from '@whetstone/core/config';
import { writeAtomically } from '@whetstone/core/files';
import { builtInPlugins } from '../built-ins.js';
import { createTerminal } from '../terminal.js';

/**
 * `whetstone schema`: prints the JSON Schema of configuration files, including the options of every built-in plugin.
 */
export async function writeSchema(options: { readonly out?: string }): Promise<void> {
  const schema = editorSchema(builtInPlugins.map((plugin) => ({ use: plugin.name, plugin })));
  const text = `${JSON.stringify(schema, null, 2)}\n`;
  if (options.out === undefined) {
    process.stdout.write(text);
    return;
  }
  const file = resolve(options.out);
  await writeAtomically(file, async (handle) => void (await handle.writeFile(text)));
  createTerminal(false).line(`Written to ${file}. Reference it as "$schema" in a configuration.`);
}
