import '@tensorflow/tfjs-backend-cpu';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import * as core from '@whetstone/core';
import * as contract from '@whetstone/core/contract';
import type { StepReport } from '@whetstone/core/contract';
import { createRegistry, loadPlugin } from '@whetstone/core/plugins';
import { createFrom, metricSampleOf } from '@whetstone/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { readPage } from './docs/markdown.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { builtIns, tinyServices } from './trainer/support.js';

// The types of the page's files, and that each plugin is valid by itself, are checked by test/docs/examples.test.ts.

const { blocks } = await readPage('docs/write-a-plugin.md');
const files = blocks.flatMap(({ file, text }) => (file === null ? [] : [{ file, text }]));
const configuration = blocks.find(({ language }) => language === 'json')?.text ?? '';

const sharedModules = { '@whetstone/core': core, '@whetstone/core/contract': contract, '@tensorflow/tfjs-core': tf };

beforeAll(() => tf.setBackend('cpu'));

describe('docs/write-a-plugin.md', () => {
  it('names every file', () => {
    expect(files.map(({ file }) => file)).toEqual([
      'loss-record.ts',
      'loss-lines.ts',
      'small-logits.ts',
      'word-count.ts',
      'staircase.ts',
      'plugins.test.ts',
    ]);
  });

  it('runs', async () => {
    const folder = await temporaryFolder();
    for (const { file, text } of files) writeFileSync(join(folder, file), text);
    writeFileSync(join(folder, 'run.json'), configuration);
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    const trainer = new core.Trainer(join(folder, 'run.json'), {
      plugins: builtIns,
      defaults: { dataSource: 'conversations' },
      services: tinyServices(),
      sharedModules,
      overrides: ['output.folder=null'],
    });
    const reports: StepReport[] = [];
    for await (const report of trainer) reports.push(report);
    expect(reports.length).toBeGreaterThan(2);
    expect(reports.map(({ learningRate }) => learningRate)).toEqual(
      [0.01, 0.01, 0.005, 0.005].slice(0, reports.length),
    );
    expect(reports.every(({ metrics }) => Number(metrics['smallLogits']) > 0)).toBe(true);
  });

  it('has a metric that counts words', async () => {
    const folder = await temporaryFolder();
    const { text } = files.find(({ file }) => file === 'word-count.ts') ?? expect.fail('The file is missing.');
    writeFileSync(join(folder, 'word-count.ts'), text);
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    const plugin = (await loadPlugin('metric', './word-count.ts', {
      registry: createRegistry(builtIns),
      baseFolder: folder,
      sharedModules,
    })) as contract.Plugin<'metric'>;
    const metric = (await createFrom(plugin, { factor: 0.5 })) as contract.MetricOf<'replies'>;
    const { add, result } = metric.createAccumulator();
    for (const reply of ['one two three', 'one two'])
      await add(metricSampleOf('replies', { prompt: 'Count.', reference: 'one two three four five six', reply }));
    // Three and two words; only two words are less than half of six.
    expect(await result()).toEqual({ words: 2.5, shortReplies: 0.5 });
  });
});
