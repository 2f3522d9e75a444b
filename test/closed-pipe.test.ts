import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

it.each([
  ['cli/bin/whetstone.js', 'plugins'],
  ['backend/bin/whetstone-backend.js', 'info'],
  ['create-whetstone-plugin/bin/create-whetstone-plugin.js', '--help'],
])('%s %s ends without an error if its output is closed', async (path, command) => {
  const program = fileURLToPath(new URL(`../packages/${path}`, import.meta.url));
  const child = spawn(process.execPath, [program, command], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.destroy();
  let errors = '';
  child.stderr.on('data', (text: Buffer) => (errors += text.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  expect({ code, errors }).toEqual({ code: 0, errors: '' });
});
