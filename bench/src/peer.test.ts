import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { numberOf, runPeer } from './peer.js';
import { median, ratio } from './report.js';

let folder: string;
const python = async (name: string, script: string): Promise<string> => {
  const file = join(folder, name);
  await writeFile(file, `#!${process.execPath}\n${script}`);
  await chmod(file, 0o755);
  return file;
};
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-peer-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

test('the line that a peer prints last is taken, with what it was asked', async () => {
  const good = await python(
    'good',
    'console.log("loading"); console.log(JSON.stringify({ peer: "x", min_s: 2, asked: process.argv.slice(3) }));',
  );
  const line = await runPeer(good, 'peer_step.py', ['lora', '4']);
  expect(line).toEqual({ peer: 'x', min_s: 2, asked: ['lora', '4'] });
  expect(numberOf(line, 'min_s')).toBe(2);
  expect(() => numberOf(line, 'tokens')).toThrow('no number tokens');
});

test('a peer that fails, or that is not there, is no result', async () => {
  await expect(runPeer(await python('bad', 'process.exit(3)'), 'peer_step.py', [])).rejects.toThrow('exit code 3');
  await expect(runPeer(join(folder, 'missing'), 'peer_step.py', [])).rejects.toThrow('ENOENT');
});

test('median and ratio', () => {
  expect([median([3, 1, 2]), median([4, 1, 2, 3])]).toEqual([2, 2.5]);
  expect(ratio(3, 2)).toBe('1.50×');
});
