import { builtInPlugins } from '../built-ins.js';
import { table } from '../format.js';
import { createTerminal } from '../terminal.js';

/** `whetstone plugins`: lists the built-in plugins. */
export function listPlugins(options: { readonly json?: boolean }): void {
  const terminal = createTerminal(options.json === true);
  const rows = builtInPlugins
    .map(({ kind, name, description = '' }) => ({ kind, name, description }))
    .sort((a, b) => a.kind.localeCompare(b.kind) || a.name.localeCompare(b.name));
  terminal.line(table(rows.map(({ kind, name, description }) => [kind, terminal.paint.bold(name), description])));
  terminal.line();
  terminal.line(
    'A configuration can also name an npm package ("@acme/whetstone-dora") or a local file ("./my-callback.ts").',
  );
  terminal.result(rows);
}
