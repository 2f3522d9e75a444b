import '@tensorflow/tfjs-backend-cpu';
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import * as core from '@whetstone/core';
import * as contract from '@whetstone/core/contract';
import type { StepReport } from '@whetstone/core/contract';
import { beforeAll, describe, expect, it } from 'vitest';
import { execute, repository } from './support/scratch-project.js';
import { temporaryFolder } from './support/temporary-folder.js';
import { builtIns, tinyServices } from './trainer/support.js';

// Checking the types needs the built packages, as `npm test` makes them.

const page = readFileSync(new URL('../docs/write-a-plugin.md', import.meta.url), 'utf8');
const blocks = [...page.matchAll(/^```(ts|json)\n([\s\S]*?)^```$/gm)].map(([, language, text = '']) => ({
  language,
  text,
}));
const files = blocks
  .filter(({ language }) => language === 'ts')
  .map(({ text }) => ({ name: /^\/\/ file: (\S+)/.exec(text)?.[1] ?? '', text }));
const configuration = blocks.find(({ language }) => language === 'json')?.text ?? '';

beforeAll(() => tf.setBackend('cpu'));

async function writeBlocks(): Promise<string> {
  const folder = await temporaryFolder();
  for (const { name, text } of files) writeFileSync(join(folder, name), text);
  writeFileSync(join(folder, 'run.json'), configuration);
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  return folder;
}

describe('docs/write-a-plugin.md', () => {
  it('names every file', () => {
    expect(files.map(({ name }) => name)).toEqual(['loss-record.ts', 'small-logits.ts', 'staircase.ts', 'quiet.ts']);
  });

  it('compiles', async () => {
    const folder = await writeBlocks();
    symlinkSync(join(repository, 'node_modules'), join(folder, 'node_modules'));
    const tsc = join(repository, 'node_modules/typescript/bin/tsc');
    const options = [
      '--noEmit',
      '--strict',
      '--target',
      'es2022',
      '--module',
      'nodenext',
      '--experimentalDecorators',
      '--skipLibCheck',
    ];
    const checked = await execute(process.execPath, [tsc, ...options, ...files.map(({ name }) => name)], folder);
    expect(checked, checked.stdout).toMatchObject({ code: 0 });
  });

  it('runs', async () => {
    const folder = await writeBlocks();
    const trainer = new core.Trainer(join(folder, 'run.json'), {
      plugins: builtIns,
      defaults: { dataSource: 'conversations' },
      services: tinyServices(),
      sharedModules: { '@whetstone/core': core, '@whetstone/core/contract': contract, '@tensorflow/tfjs-core': tf },
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
});
