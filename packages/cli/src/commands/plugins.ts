import { builtInPlugins } from '../built-ins.js';
import { table } from '../format.js';
import { installedPlugins } from '../installed-plugins.js';
import { createTerminal } from '../terminal.js';

/** `whetstone plugins`: lists the built-in plugins, and the installed packages with the keyword `whetstone-plugin`. */
export function listPlugins(options: { readonly json?: boolean }): void {
  const terminal = createTerminal(options.json === true);
  const rows = builtInPlugins
    .map(({ kind, name, description = '' }) => ({ kind, name, description }))
    .sort((a, b) => a.kind.localeCompare(b.kind) || a.name.localeCompare(b.name));
  const packages = installedPlugins(process.cwd()).map((each) => ({ kind: 'package', ...each }));
  const bold = (text: string): string => terminal.paint.bold(text);
  terminal.line(table(rows.map(({ kind, name, description }) => [kind, bold(name), description])));
  if (packages.length > 0) {
    terminal.line();
    terminal.line('Installed packages:');
    terminal.line(table(packages.map(({ name, version, description }) => [bold(name), version, description])));
  }
  terminal.line();
  terminal.line('A configuration can also name an installed npm package, or a local file ("./my-callback.ts").');
  terminal.result([...rows, ...packages]);
}
