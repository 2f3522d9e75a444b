import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';
import '@tensorflow/tfjs-backend-cpu';
import { createTinyModel, LOGGER, provide, Trainer } from 'whetstone';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'whetstone-customer-service-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('from a raw, dirty export to a trained adapter, English and Chinese, in one configuration', async () => {
  const model = join(folder, 'model');
  await createTinyModel(model, { hiddenSize: 32, layers: 1 });
  const lines: string[] = [];
  const log = (message: string): void => void lines.push(message);
  const warnings: string[] = [];
  const trainer = new Trainer(here('./run.json'), {
    overrides: [
      `model=${model}`,
      'backend=cpu',
      'training.maxSteps=2',
      'training.perDeviceTrainBatchSize=2',
      'training.evalStrategy=no',
      'data.maxLength=160',
      'data.samplesWithoutTargets=skip',
      `output.folder=${join(folder, 'run')}`,
    ],
    services: [provide(LOGGER, { debug: log, info: log, warn: (message) => warnings.push(message), error: log })],
  });
  const report = await trainer.run();
  expect(report.steps).toBe(2);

  const { train } = JSON.parse(readFileSync(join(folder, 'run', 'data.json'), 'utf8')) as {
    train: {
      counts: { unreadable: number };
      transforms: { name: string; removed: Record<string, number>; changed: Record<string, number> }[];
    };
  };
  const of = (name: string) => train.transforms.find((transform) => transform.name === name);
  expect(train.counts.unreadable).toBeGreaterThan(5);
  expect(of('normalize-text')?.changed['widths']).toBeGreaterThan(20);
  expect(of('redact')?.changed).toMatchObject({
    phone: expect.any(Number) as number,
    email: expect.any(Number) as number,
  });
  expect(of('quality-filter')?.removed).toMatchObject({
    'empty-turn': expect.any(Number) as number,
    boilerplate: expect.any(Number) as number,
  });
  expect(of('deduplicate')?.removed).toMatchObject({
    'exact-duplicate': expect.any(Number) as number,
    'in-evaluation-data': expect.any(Number) as number,
  });
  // Everything that is skipped is reported, and no evaluation data is trained on.
  expect(lines.some((line) => /rows cannot be read and are skipped/.test(line))).toBe(true);
  expect(warnings.filter((warning) => /repeats? evaluation data/.test(warning))).toEqual([]);
}, 120_000);

test('the export is what its script makes of the dialogues', () => {
  const files = ['export/tickets.en.jsonl', 'export/tickets.zh.csv'].map(here);
  const before = files.map((file) => readFileSync(file, 'utf8'));
  execFileSync(process.execPath, [here('./make-export.mjs')]);
  expect(files.map((file) => readFileSync(file, 'utf8'))).toEqual(before);
});
