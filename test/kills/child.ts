/**
 * A run in a process of its own, to be killed. Prints a line at once whenever the run enters a phase, and after each
 * step; what it has printed survives it. Time stands still, so that two runs write the same bytes.
 */
import { writeSync } from 'node:fs';
import { join } from 'node:path';
import { provide } from '@whetstone/core';
import { CLOCK, type Callback } from '@whetstone/core/contract';
import { Trainer } from '../../packages/cli/src/trainer.js';
import { withFault } from '../support/faulty-files.js';
import { phaseOfPath, type ChildParameters } from './phases.js';

const { project, evaluates, resume, operation } = JSON.parse(process.argv[2] ?? '') as ChildParameters;
process.chdir(project);

let phase = '';
function enter(next: string): void {
  if (phase !== next) writeSync(1, `${next}\n`);
  phase = next;
}

/** Evaluation follows a step, or an epoch of `evaluates` steps, at once. */
const phases: Callback = {
  onRunStart: () => enter('training'),
  onStepStart: () => enter('training'),
  onStep: ({ step, totalSteps }) => {
    writeSync(1, `step ${step}\n`);
    if (step % evaluates === 0 || step === totalSteps) enter('evaluation');
  },
  onEvaluate: () => enter('training'),
  onSave: () => enter('training'),
  onRunEnd: () => enter('end'),
};

async function train(): Promise<void> {
  enter('start');
  const trainer = new Trainer('run.json', {
    overrides: resume ? ['training.resumeFromCheckpoint=true'] : [],
    callbacks: [phases],
    services: [provide(CLOCK, { now: () => 0, timestamp: () => '2026-01-01T00:00:00.000Z' })],
  });
  const { result, operations } = await withFault(
    join(process.cwd(), 'run'),
    { kind: 'SIGKILL', at: operation ?? -1 },
    () => trainer.run(),
    (_, path) => enter(phase === 'start' ? phase : (phaseOfPath(path) ?? phase)),
  );
  if ('error' in result) throw result.error;
  writeSync(1, `operations ${operations}\n`);
}

void train();
