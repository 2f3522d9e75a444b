import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { libraryFolder, xlaPlugin } from './test-support.js';

const built = existsSync(new URL('../dist/index.js', import.meta.url));

interface SuiteResult {
  readonly passed: number;
  readonly unexpected: readonly unknown[];
  readonly healed: readonly unknown[];
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
  "tfjs-core's own suite passes on the built backend, but for the exceptions listed with their reasons",
  { timeout: 400_000 },
  () => {
    const { result, stderr } = runSuite();
    expect(result.unexpected, stderr).toEqual([]);
    expect(result.healed).toEqual([]);
    expect(result.passed).toBeGreaterThan(4000);
  },
);

test.skipIf(xlaPlugin === null || !built)(
  'a share of it passes on the xla engine: all of it with npm run test:tfjs -- --engine xla',
  { timeout: 400_000 },
  () => {
    const { result, stderr } = runSuite('--engine', 'xla', '--share', '23');
    expect(result.unexpected, stderr).toEqual([]);
    expect(result.passed).toBeGreaterThan(150);
  },
);
