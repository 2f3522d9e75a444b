import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { numberOf, runPeer, toParameters } from './peer.js';
import { markdownTable, median, medianOf, ratio, spread, summarize } from './report.js';
import { measureInTurns } from './runs.js';

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

test('a peer that fails or does not exist is an error', async () => {
  await expect(runPeer(await python('bad', 'process.exit(3)'), 'peer_step.py', [])).rejects.toThrow('exit code 3');
  await expect(runPeer(join(folder, 'missing'), 'peer_step.py', [])).rejects.toThrow('ENOENT');
});

test('median and ratio', () => {
  expect([median([3, 1, 2]), median([4, 1, 2, 3])]).toEqual([2, 2.5]);
  expect(ratio(3, 2)).toBe('1.50×');
});

test('a summary is the median with the least and the greatest', () => {
  const summary = summarize([3, 1, 2]);
  expect(summary).toEqual({ median: 2, min: 1, max: 3, values: [3, 1, 2] });
  expect([spread(summary), spread(summary, 0), spread(summarize([1.001, 1]))]).toEqual([
    '2.00 (1.00–3.00)',
    '2 (1–3)',
    '1.00',
  ]);
});

test('a report says of how many runs its figures are', () => {
  expect([medianOf(5), medianOf(12, 'round'), medianOf(1)]).toEqual([
    'median of 5 runs (least–greatest)',
    'median of 12 rounds (least–greatest)',
    'one run',
  ]);
});

test('flags become parameters, without those that are off', () => {
  expect(toParameters({ threads: 2, compile: true, autocast: false, peak: undefined, dtype: 'float32' })).toEqual([
    '--threads',
    '2',
    '--compile',
    '--dtype',
    'float32',
  ]);
});

test('contenders are measured in turns, and each gets its own results', async () => {
  const order: string[] = [];
  const contender = (name: string): { name: string; measure(): Promise<string> } => ({
    name,
    measure: async () => `${name}${order.push(name)}`,
  });
  const told: string[] = [];
  const results = await measureInTurns([contender('a'), contender('b')], 2, (name, run) => told.push(`${name} ${run}`));
  expect(order).toEqual(['a', 'b', 'a', 'b']);
  expect(results).toEqual([
    ['a1', 'a3'],
    ['b2', 'b4'],
  ]);
  expect(told).toEqual(['a 1', 'b 1', 'a 2', 'b 2']);
});

test('a table is Markdown', () => {
  expect(markdownTable(['', 's'], [['ours', '1']])).toEqual(['|  | s |', '| --- | ---: |', '| ours | 1 |']);
});
