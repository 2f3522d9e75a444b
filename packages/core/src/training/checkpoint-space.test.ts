import { expect, it } from 'vitest';
import { mostCheckpoints } from './checkpoint-space.js';

const steps = { saveStrategy: 'steps', saveTotalLimit: null, loadBestModelAtEnd: false } as const;
const plan = { step: 0, totalSteps: 100, saveSteps: 30, stepsPerEpoch: 40 };

it.each([
  ['30, 60, 90 and the last step', steps, plan, 4],
  ['those that remain after step 60', steps, { ...plan, step: 60 }, 2],
  ['none after the last step', steps, { ...plan, step: 100 }, 0],
  ['40, 80 and the last step, at the ends of epochs', { ...steps, saveStrategy: 'epoch' }, plan, 3],
  ['none if nothing is saved', { ...steps, saveStrategy: 'no' }, plan, 0],
  ['the kept one and the one that is written', { ...steps, saveTotalLimit: 1 }, plan, 2],
  ['no more than are saved at all', { ...steps, saveTotalLimit: 10 }, plan, 4],
  [
    'the newest, the best, and the one that is written',
    { ...steps, saveTotalLimit: 1, loadBestModelAtEnd: true },
    plan,
    3,
  ],
  ['the best in addition to all others', { ...steps, loadBestModelAtEnd: true }, plan, 5],
] as const)('counts the checkpoints on the disk: %s', (_, config, position, expected) => {
  expect(mostCheckpoints(config, position)).toBe(expected);
});
