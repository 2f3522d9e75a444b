import { readFileSync } from 'node:fs';
import { afterEach, expect, test, vi } from 'vitest';
import { tensorflowCpuWheel } from '../install/index.js';
import { runBackendCommand } from './command-line.js';

afterEach(() => vi.restoreAllMocks());

/** Runs a command line. */
async function run(...parameters: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  let [stdout, stderr] = ['', ''];
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => Boolean((stdout += String(text))));
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => Boolean((stderr += String(text))));
  const code = await runBackendCommand(parameters);
  return { code, stdout, stderr };
}

test('install lists what it would download, as text and as JSON', async () => {
  const wheel = tensorflowCpuWheel();
  const text = await run('install', '--dry-run');
  expect(text).toMatchObject({ code: 0, stderr: '' });
  expect(text.stdout).toContain(wheel.fileName);
  const json = await run('install', 'cpu', '--dry-run', '--json');
  expect(JSON.parse(json.stdout)).toMatchObject({
    kind: 'cpu',
    bytes: wheel.bytes,
    wheels: [{ sha256: wheel.sha256 }],
  });
  expect(json.stderr).toContain(wheel.fileName);
});

test('info reports a backend that does not exist', async () => {
  const { code, stdout, stderr } = await run('info', '--backend', 'cuda', '--json');
  expect(code).toBe(2);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'CONFIG_INVALID', found: 'cuda' } });
  expect(stderr).toMatch(/Tensor backend "cuda" not found/);
});

test('the version is that of the package', async () => {
  const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    readonly version: string;
  };
  expect(await run('--version')).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: '' });
});

test.each([
  [[], /command is missing/],
  [['inform'], /Command 'inform' not found/],
  [['info', 'cpu'], /Command 'info cpu' not found/],
  [['install', 'gpu'], /Backend "gpu" not found[^]*expected: cpu, cuda12/],
  [['install', 'cpu', 'xla-cpu'], /'xla-cpu'/],
  [['install', '--dryrun'], /--dryrun[^]*npx @whetstone\/backend --help/],
])('%j is bad usage', async (parameters, message) => {
  const { code, stderr } = await run(...parameters);
  expect(code).toBe(2);
  expect(stderr).toMatch(message);
});
