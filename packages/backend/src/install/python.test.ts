import { expect, test } from 'vitest';
import { runCommand } from './python.js';

test('kills a command that does not end in time, although its child process keeps the pipes open', async () => {
  const script =
    `require('node:child_process').spawn(process.execPath, ['-e', 'setTimeout(() => undefined, 5000)'], { stdio: ` +
    `'inherit' }); console.log('started');`;
  const { code, startError } = await runCommand(process.execPath, ['-e', script], { timeoutMilliseconds: 700 });
  expect({ code, startError }).toEqual({ code: null, startError: 'did not end within 0.7 seconds' });
});
