import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { libraryFolder } from './test-support.js';

const built = existsSync(new URL('../dist/index.js', import.meta.url));

test.skipIf(libraryFolder === null || !built)('tfjs-core\'s own suite passes on the built backend, but for the exceptions listed with their reasons', { timeout: 400_000 }, () => {
  const { stdout, stderr } = spawnSync(process.execPath, [fileURLToPath(new URL('../conformance/run.mjs', import.meta.url)), '--json'], { encoding: 'utf8' });
  const result = JSON.parse(stdout.slice(stdout.lastIndexOf('\n{') + 1)) as { passed: number; unexpected: unknown[]; healed: unknown[] };
  expect(result.unexpected, stderr).toEqual([]);
  expect(result.healed).toEqual([]);
  expect(result.passed).toBeGreaterThan(4000);
});
