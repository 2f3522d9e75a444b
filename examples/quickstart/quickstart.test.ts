import { spawn } from 'node:child_process';
import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

// Without Python and a network: the part that runs everywhere. `npm run quickstart` itself uses libtensorflow and the
// real model.
test('without Python it explains why it continues with a tiny model on another backend', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'whetstone-quickstart-test-'));
  await symlink(process.execPath, join(folder, 'node'));
  const { WHETSTONE_TENSORFLOW_LIBRARY: _, WHETSTONE_PYTHON: __, ...environment } = process.env;
  const script = fileURLToPath(new URL('./run.mjs', import.meta.url));
  const child = spawn(process.execPath, [script, '--json', '--steps', '2'], {
    env: { ...environment, PATH: folder, WHETSTONE_CACHE: join(folder, 'cache') },
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  const code = await new Promise((resolve) => child.on('close', resolve));
  await rm(folder, { recursive: true, force: true });
  expect(stderr).toMatch(/DOWNLOAD_FAILED.*no Python with pip/);
  expect(stderr).toContain('Continuing without libtensorflow');
  expect(stderr).toMatch(/step 1\/2 {2}loss/);
  expect(code).toBe(0);
  const report = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Record<string, unknown>;
  expect(report).toMatchObject({ steps: 2, backend: 'wasm' });
  expect(report['evalLossAfter']).toBeLessThan(report['evalLossBefore'] as number);
  expect(report['replies']).toHaveLength(3);
}, 240_000);
