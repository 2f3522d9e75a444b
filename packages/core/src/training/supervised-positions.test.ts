import { describe, expect, it } from 'vitest';
import { planSteps } from './step-plan.js';
import { supervisedPositions } from './supervised-positions.js';

describe('supervisedPositions', () => {
  const batch = (labels: number[], segmentIds: number[], rows = 1) => ({
    rows,
    length: labels.length / rows,
    labels: Int32Array.from(labels),
    segmentIds: Int32Array.from(segmentIds),
  });

  it('shifts labels by one within each row', () => {
    const found = supervisedPositions(batch([-100, -100, 7, 8, 5, -100, 6, -100], [1, 1, 1, 1, 1, 1, 1, 0], 2));
    expect([...found.positions]).toEqual([1, 2, 5]);
    expect([...found.targets]).toEqual([7, 8, 6]);
  });

  it('does not count the first token of a segment or padding', () => {
    const found = supervisedPositions(batch([1, 2, 3, 4, 5, 6], [1, 1, 2, 2, 0, 0]));
    expect([...found.positions]).toEqual([0, 2]);
    expect([...found.targets]).toEqual([2, 4]);
  });
});

describe('planSteps', () => {
  const training = {
    numTrainEpochs: 3,
    maxSteps: -1,
    perDeviceTrainBatchSize: 8,
    perDeviceEvalBatchSize: 8,
    gradientAccumulationSteps: 4,
    seed: 42,
    dataSeed: null,
    loggingSteps: 5,
    evalStrategy: 'no',
    evalSteps: null,
    saveStrategy: 'steps',
    saveSteps: 0.1,
    saveTotalLimit: null,
    loadBestModelAtEnd: false,
    metricForBestModel: 'loss',
    greaterIsBetter: null,
    resumeFromCheckpoint: null,
    resumeDespite: [],
    maxRollbacks: 3,
    ddpTimeout: 1800,
    ddpBucketCapMb: 25,
  } as const;

  it('counts the partial window of each epoch', () => {
    expect(planSteps(training, 10)).toEqual({
      totalSteps: 9,
      stepsPerEpoch: 3,
      epochs: 3,
      loggingSteps: 5,
      evalSteps: 5,
      saveSteps: 1,
    });
  });

  it('prefers maxSteps, and rounds fractions of epochs up', () => {
    expect(planSteps({ ...training, maxSteps: 25 }, 10)).toMatchObject({ totalSteps: 25, epochs: 9, saveSteps: 3 });
    expect(planSteps({ ...training, numTrainEpochs: 0.5 }, 10)).toMatchObject({ totalSteps: 2, epochs: 1 });
  });

  it('rejects data without a batch', () => {
    expect(() => planSteps(training, 0)).toThrow(expect.objectContaining({ code: 'DATA_EMPTY' }) as Error);
  });
});
