import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { rm } from 'node:fs/promises';
import { build } from 'esbuild';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { temporaryFolder } from '../support/temporary-folder.js';

// Inside node_modules, so that the packages are resolved and git ignores the file.
const script = fileURLToPath(
  new URL(`../../node_modules/.whetstone-tests/child-run-${process.pid}.mjs`, import.meta.url),
);

beforeAll(() =>
  build({
    entryPoints: [fileURLToPath(new URL('../support/child-run.ts', import.meta.url))],
    outfile: script,
    bundle: true,
    format: 'esm',
    platform: 'node',
    packages: 'external',
  }),
);
afterAll(() => rm(script, { force: true }));

/** Runs the script and returns its lines. Kills it (SIGKILL) once it has printed `killAt`. */
async function runChild(folder: string, mode: 'start' | 'resume', killAt?: string): Promise<string[]> {
  const child = spawn(process.execPath, [script, folder, mode], { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines: string[] = [];
  for await (const line of createInterface(child.stdout)) {
    lines.push(line);
    if (line === killAt) child.kill('SIGKILL');
  }
  return lines;
}

it('a run that was killed resumes from its checkpoint and ends with the same weights', async () => {
  const uninterrupted = await runChild(await temporaryFolder(), 'start');
  const folder = await temporaryFolder();
  const killed = await runChild(folder, 'start', 'step 7');
  expect(killed.join()).not.toContain('hash');
  const resumed = await runChild(folder, 'resume');
  expect(resumed[0]).toBe('step 6');
  expect(uninterrupted.at(-1)).toMatch(/^hash [0-9a-f]{64}$/);
  expect(resumed.at(-1)).toBe(uninterrupted.at(-1));
});
