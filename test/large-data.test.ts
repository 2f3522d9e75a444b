import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTinyModel } from 'whetstone';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hashOf, runCommand, writeLargeData } from './support/large-data.js';

const folder = mkdtempSync(join(tmpdir(), 'whetstone-large-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(() => createTinyModel(join(folder, 'model'), { hiddenSize: 32, layers: 1 }));

/** Writes a configuration; returns its file and its run's folder. */
function configure(name: string, data: object, training: object): { readonly file: string; readonly output: string } {
  const output = join(folder, name);
  mkdirSync(output, { recursive: true });
  const file = join(folder, `${name}.json`);
  writeFileSync(
    file,
    JSON.stringify({
      model: join(folder, 'model'),
      backend: 'cpu',
      strategy: 'full',
      data: { maxLength: 256, unreadableRows: { maxShare: 0.01 }, ...data },
      optimizer: { learningRate: 0.01 },
      schedule: 'constant',
      training: { perDeviceTrainBatchSize: 2, saveStrategy: 'steps', saveSteps: 1, ...training },
      output: { folder: output },
    }),
  );
  return { file, output };
}

const checkpointsOf = (output: string): string[] =>
  readdirSync(output)
    .filter((name) => /^checkpoint-\d+$/.test(name))
    .sort();
const transforms = ['normalize-text', 'quality-filter', 'redact', 'deduplicate'];

describe('data on worker threads, through the command', () => {
  test('trains to the same checkpoint, bit for bit, as on one thread', async () => {
    const train = join(folder, 'some.jsonl');
    await writeLargeData(train, 9 << 20, 6000);
    const outputs: string[] = [];
    for (const workers of [0, 2]) {
      const { file, output } = configure(`workers-${workers}`, { train, workers, transforms }, { maxSteps: 2 });
      const { stderr } = await runCommand(['train', file], { cache: join(folder, `cache-${workers}`) });
      expect(stderr.includes('read on 2 worker threads')).toBe(workers === 2);
      outputs.push(output);
    }
    const [alone = '', shared = ''] = outputs;
    expect(checkpointsOf(alone).length).toBeGreaterThan(0);
    expect(checkpointsOf(shared)).toEqual(checkpointsOf(alone));
    const last = checkpointsOf(alone).at(-1) ?? '';
    const files = readdirSync(join(alone, last)).filter((name) => name.endsWith('.safetensors'));
    expect(files.length).toBeGreaterThan(0);
    for (const name of files) expect(hashOf(shared, last, name), name).toBe(hashOf(alone, last, name));
    expect(readFileSync(join(shared, 'data.json'), 'utf8').replace('"workers": 2', '"workers": 0')).toBe(
      readFileSync(join(alone, 'data.json'), 'utf8'),
    );
  }, 240_000);
});

const megabytes = Number(process.env['WHETSTONE_TEST_LARGE'] ?? 0);
if (!(megabytes > 0))
  console.warn('SKIPPED: a file larger than the memory. `npm run test:large` trains on one of 1.2 GB.');
describe.skipIf(!(megabytes > 0))(`a file of ${megabytes} MB with a heap of 256 MB`, () => {
  test('trains, and resumes in the middle exactly', async () => {
    const train = join(folder, 'large.jsonl');
    await writeLargeData(train, megabytes * 1e6, 2000);
    const limits = { cache: join(folder, 'large-cache'), nodeOptions: ['--max-old-space-size=256'] };
    const run = (name: string, maxSteps: number, ...more: string[]) =>
      runCommand(['train', configure(name, { train, workers: 2 }, { maxSteps, saveSteps: 10 }).file, ...more], limits);
    const runs = [await run('whole', 20), await run('half', 10), await run('half', 20, '--resume')];
    const [whole, half] = [join(folder, 'whole'), join(folder, 'half')];
    const figures = runs.map((each) => `${each.seconds.toFixed(0)} s, ${(each.peakBytes / 1e6).toFixed(0)} MB`);
    console.log(`${(statSync(train).size / 1e9).toFixed(2)} GB: ${figures.join('; ')}`);
    const last = checkpointsOf(whole).at(-1) ?? '';
    expect(checkpointsOf(half).at(-1)).toBe(last);
    const files = readdirSync(join(whole, last)).filter((name) => name.endsWith('.safetensors'));
    expect(files.length).toBeGreaterThan(0);
    for (const name of files) expect(hashOf(half, last, name), name).toBe(hashOf(whole, last, name));
    // Far less than the file, whatever its size.
    for (const { peakBytes } of runs) expect(peakBytes).toBeLessThan(900e6);
  }, 3_600_000);
});
