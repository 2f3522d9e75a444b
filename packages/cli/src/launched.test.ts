import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { LAUNCHED_VARIABLE, sendSignal } from './launched.js';

const built = fileURLToPath(new URL('../dist/launched.js', import.meta.url));

/** Ends with code 7 at a SIGINT or SIGUSR1, of the system or of the launcher. */
const worker = `
const { pathToFileURL } = require('node:url');
process.on('SIGINT', () => process.exit(7));
process.on('SIGUSR1', () => process.exit(8));
import(pathToFileURL(process.argv[1]).href).then(({ onPassedSignal }) => {
  onPassedSignal();
  setInterval(() => undefined, 1000);
  process.send('ready');
});
`;

async function codeAfter(signal: NodeJS.Signals, platform: NodeJS.Platform): Promise<readonly unknown[]> {
  const child = spawn(process.execPath, ['--input-type=commonjs', '--eval', worker, built], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [LAUNCHED_VARIABLE]: '1' },
  });
  await once(child, 'message');
  sendSignal(child, signal, platform);
  return once(child, 'exit');
}

/** Waits until its launcher is gone, and then ends with code 9 if it is told so. */
const orphan = `
const { pathToFileURL } = require('node:url');
setTimeout(() => process.exit(1), 20_000);
setImmediate(async function wait() {
  if (process.connected) return setImmediate(wait);
  const { onLauncherGone } = await import(pathToFileURL(process.argv[1]).href);
  onLauncherGone(() => process.exit(9));
});
`;

test('a worker that starts to listen after its launcher has gone is told so', async () => {
  const child = spawn(process.execPath, ['--input-type=commonjs', '--eval', orphan, built], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [LAUNCHED_VARIABLE]: '1' },
  });
  child.disconnect();
  expect(await once(child, 'exit')).toEqual([9, null]);
});

test.skipIf(process.platform === 'win32')('a signal reaches a worker as a signal', async () => {
  expect(await codeAfter('SIGINT', 'linux')).toEqual([7, null]);
});

test('a signal reaches a worker as a message where signals would end it at once', async () => {
  expect(await codeAfter('SIGINT', 'win32')).toEqual([7, null]);
  expect(await codeAfter('SIGUSR1', 'win32')).toEqual([8, null]);
});
