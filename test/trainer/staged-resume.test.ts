import { cp, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Trainer } from '../../packages/cli/src/trainer.js';
import { expect, it } from 'vitest';
import { repository } from '../support/execute.js';
import { temporaryFolder } from '../support/temporary-folder.js';

// The only test of its file: each file runs in a process of its own, in which nothing has initialised a tensor backend
// yet, as in that of a user who resumes.
it('a staged run whose first stage is done resumes in a new process', async () => {
  const folder = join(await temporaryFolder(), 'run');
  await cp(join(repository, 'test/versions/0.1.0'), folder, { recursive: true });
  // The losses of the run that was not interrupted; two of them are before the checkpoint.
  const expected = JSON.parse(await readFile(join(folder, 'staged-losses.json'), 'utf8')) as unknown[];
  const trainer = new Trainer(join(folder, 'staged.json'), { overrides: ['training.resumeFromCheckpoint=true'] });
  const steps: unknown[] = [];
  for await (const { stage, step, loss } of trainer) steps.push({ stage, step, loss });
  expect(steps).toEqual(expected.slice(2));
});
