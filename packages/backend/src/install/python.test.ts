import { expect, test } from 'vitest';
import { runCommand } from './python.js';

test('a program that does not answer is ended, though what it started holds its pipes', async () => {
  const started =
    `require('node:child_process').spawn(process.execPath, ['-e', 'setTimeout(() => undefined, 5000)'], { stdio: ` +
    `'inherit' }); console.log('begun');`;
  const { code, startError } = await runCommand(process.execPath, ['-e', started], { timeoutMilliseconds: 700 });
  expect({ code, startError }).toEqual({ code: null, startError: 'gave no answer in 0.7 seconds' });
});
