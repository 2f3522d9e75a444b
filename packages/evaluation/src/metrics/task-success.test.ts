import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MetricAccumulator, ReplySample } from '@whetstone/core/contract';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createChecker, matchesOf, schemaMatches } from './task-success.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'whetstone-checker-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const sampleOf = (reply: string): ReplySample => ({
  conversation: { messages: [], form: 'chat', origin: { file: 'samples.jsonl', line: 1, index: 0 } },
  prompt: [{ role: 'user', content: 'Double 4.' }],
  references: ['8'],
  columns: { topic: 'sums' },
  reply,
});

/** Returns the numbers of a checker that runs a program of Node for these replies. */
async function check(program: string, replies: readonly string[], options: object = {}) {
  const command = [process.execPath, '-e', program];
  const metric = createChecker({ command, ...options }, folder);
  const accumulator: MetricAccumulator<ReplySample> = metric.createAccumulator();
  for (const reply of replies) await accumulator.add(sampleOf(reply));
  return accumulator.result();
}

const READ = `const input = require('fs').readFileSync(0, 'utf8');`;

test('a checker reads the reply, and its exit code decides', async () => {
  expect(await check(`${READ} process.exit(input === '8' ? 0 : 1)`, ['8', '9'])).toEqual({
    taskSuccess: 0.5,
    checkerStopped: 0,
  });
});

test('a checker can read the whole sample, and runs in the folder of the configuration', async () => {
  const program = `${READ} require('fs').writeFileSync('seen.json', input)`;
  await check(program, ['8'], { input: 'sample' });
  expect(JSON.parse(await readFile(join(folder, 'seen.json'), 'utf8'))).toEqual({
    prompt: [{ role: 'user', content: 'Double 4.' }],
    reference: '8',
    reply: '8',
    columns: { topic: 'sums' },
  });
});

test('a reply is never executed: only the standard input contains it', async () => {
  const file = join(folder, 'ran');
  const reply = `$(touch ${file}); require('fs').writeFileSync(${JSON.stringify(file)}, '')`;
  expect(await check(`${READ} process.exit(input.includes('touch') ? 0 : 1)`, [reply])).toMatchObject({
    taskSuccess: 1,
  });
  await expect(readFile(file)).rejects.toThrow('ENOENT');
});

test.each([
  ['loops', 'for (;;);', { timeoutSeconds: 0.5 }],
  [
    'leaves a process behind that loops',
    `require('child_process').spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'inherit' })`,
    { timeoutSeconds: 1 },
  ],
  ['prints without end', `for (;;) require('fs').writeSync(1, 'x'.repeat(65536))`, { maxOutputBytes: 100_000 }],
])('a checker that %s is stopped, and the reply does not pass', async (_, program, options) => {
  expect(await check(program, ['8'], options)).toEqual({ taskSuccess: 0, checkerStopped: 1 });
});

test.skipIf(process.platform === 'win32')('a checker that needs too much memory fails', async () => {
  const program = 'Buffer.allocUnsafe(3 * 2 ** 30)';
  expect(await check(program, ['8'], { maxMemoryMiB: 2048 })).toEqual({ taskSuccess: 0, checkerStopped: 0 });
  expect(await check(program, ['8'], { maxMemoryMiB: 65_536 })).toMatchObject({ taskSuccess: 1 });
});

test('a checker that does not read its input decides all the same', async () => {
  expect(await check('process.exit(0)', ['x'.repeat(1_000_000)])).toMatchObject({ taskSuccess: 1 });
});

test('a program that does not exist is an error that names it', async () => {
  const metric = createChecker({ command: [join(folder, 'missing')] }, folder);
  await expect(metric.createAccumulator().add(sampleOf('8'))).rejects.toMatchObject({
    code: 'PLUGIN_FAILED',
    message: expect.stringContaining('missing') as string,
  });
  await writeFile(join(folder, 'plain.txt'), 'no program');
  const plain = createChecker({ command: [join(folder, 'plain.txt')] }, folder);
  await expect(plain.createAccumulator().add(sampleOf('8'))).rejects.toMatchObject({ code: 'PLUGIN_FAILED' });
});

const sumsOf = (statistics: (sample: ReplySample) => readonly number[], replies: readonly string[]): number[] =>
  replies
    .map((reply) => statistics(sampleOf(reply)))
    .reduce<number[]>((sums, own) => own.map((value, at) => value + (sums[at] ?? 0)), []);

test('replies match a regular expression, and a search without end is stopped', () => {
  const { statistics, score } = matchesOf('^(a+)+$', '', 0.2);
  const sums = sumsOf(statistics, ['aaa', 'b', `${'a'.repeat(60)}b`, '']);
  expect(score(sums)).toEqual({ regexMatch: 1 / 4, regexStopped: 1 / 4 });
  expect(() => matchesOf('(', '', 1)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
});

test('replies match a JSON schema, in a code block, too', () => {
  const schema = { type: 'object', required: ['city'], properties: { city: { type: 'string' } } };
  const { statistics, score } = schemaMatches(schema);
  const sums = sumsOf(statistics, ['{"city": "Oslo"}', '```json\n{"city": "Rome"}\n```', '{"city": 3}', 'Oslo', '']);
  expect(score(sums)).toEqual({ validJson: 3 / 5, schemaMatch: 2 / 5 });
  expect(() => schemaMatches({ type: 'letter' })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
});

test('a schema whose patterns take too long is no match', () => {
  const { statistics } = schemaMatches({ type: 'string', pattern: '^(a+)+$' });
  expect(statistics(sampleOf(JSON.stringify(`${'a'.repeat(60)}b`)))).toEqual([1, 0, 1]);
});
