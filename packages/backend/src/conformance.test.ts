import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { libraryFolder, xlaPlugin } from './test-support.js';

const built = existsSync(new URL('../dist/index.js', import.meta.url));

interface SuiteResult {
  readonly passed: number;
  readonly unexpected: readonly unknown[];
  readonly fixed: readonly unknown[];
}

function runSuite(...options: string[]): { readonly result: SuiteResult; readonly stderr: string } {
  const { stdout, stderr } = spawnSync(
    process.execPath,
    [fileURLToPath(new URL('../conformance/run.mjs', import.meta.url)), '--json', ...options],
    { encoding: 'utf8' },
  );
  return { result: JSON.parse(stdout.slice(stdout.lastIndexOf('\n{') + 1)) as SuiteResult, stderr };
}

test.skipIf(libraryFolder === null || !built)(
  "tfjs-core's test suite passes on the built backend, except for the listed exceptions",
  { timeout: 400_000 },
  () => {
    const { result, stderr } = runSuite();
    expect(result.unexpected, stderr).toEqual([]);
    expect(result.fixed).toEqual([]);
    expect(result.passed).toBeGreaterThan(4000);
  },
);

test.skipIf(xlaPlugin === null || !built)(
  'every 23rd test of the suite passes on the engine xla',
  { timeout: 400_000 },
  () => {
    const { result, stderr } = runSuite('--engine', 'xla', '--share', '23');
    expect(result.unexpected, stderr).toEqual([]);
    expect(result.passed).toBeGreaterThan(150);
  },
);
