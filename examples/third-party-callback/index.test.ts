import '@tensorflow/tfjs-backend-cpu';
import { setBackend } from '@tensorflow/tfjs-core';
import { describeCallback } from '@whetstone/testing';
import { beforeAll } from 'vitest';
import { lossWatchdog } from './index.js';

beforeAll(() => setBackend('cpu'));

// The conformance suite for callbacks.
describeCallback(lossWatchdog, {
  options: { 'low threshold': { threshold: 2.8, patience: 2 }, 'never reached': { threshold: 100 } },
  badOptions: {
    'no threshold': {},
    'no patience': { threshold: 1, patience: 0 },
    'an unknown key': { threshold: 1, patients: 2 },
  },
});
