/**
 * A run in a process of its own, to be killed. Its parameters are a folder and `resume` or `start`. Prints `step N`
 * after each step, and at the end a hash of all weights.
 */
import { createHash } from 'node:crypto';
import '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs-core';
import { runTraining } from '@whetstone/core/training';
import { createEarlyStopping } from '../../packages/plugins/src/early-stopping.js';
import { createGradientClipping } from '../../packages/plugins/src/gradient-clipping/gradient-clipping.js';
import { shuffledSource, testRun } from './training.js';

const [folder = '', mode = 'start'] = process.argv.slice(2);
await tf.setBackend('cpu');
const run = testRun({
  outputFolder: folder,
  trainData: shuffledSource(7, 2),
  evalData: shuffledSource(4, 2, 9),
  callbacks: [createEarlyStopping({ patience: 50, restoreBest: false }), createGradientClipping({ maxNorm: 0.5 })],
  training: {
    maxSteps: 10,
    evalStrategy: 'steps',
    evalSteps: 2,
    saveStrategy: 'steps',
    saveSteps: 5,
    resumeFromCheckpoint: mode === 'resume' ? true : null,
  },
});
for await (const { step } of runTraining(run)) process.stdout.write(`step ${step}\n`);
const hash = createHash('sha256');
for (const parameter of run.loaded.model.parameters.values())
  hash.update(new Uint8Array((await parameter.data()).slice().buffer));
hash.update(JSON.stringify(await run.hooks.saveState()));
process.stdout.write(`hash ${hash.digest('hex')}\n`);
