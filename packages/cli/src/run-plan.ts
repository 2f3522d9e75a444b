import type { PlannedData, PlannedSample, RunPlan } from '@whetstone/core/contract';
import { counted, formatBytes } from '@whetstone/core/util';
import { formatInspection } from '@whetstone/data/internal';
import { rate } from './format.js';
import type { Terminal } from './terminal.js';

const number = (value: number): string => value.toLocaleString('en');

/** Prints what a run, or a stage of it, would do, with samples in which the targets of the loss are marked. */
export function printPlan(plan: RunPlan, terminal: Terminal): void {
  if (plan.stage !== undefined)
    terminal.line(
      terminal.paint.bold(`Plan of stage ${plan.stage.index + 1} of ${plan.stage.count}: ${plan.stage.name}`),
    );
  for (const sample of plan.samples) terminal.line(formatInspection(asInspection(sample), terminal.paint));
  for (const [name, text] of rowsOf(plan)) terminal.line(`${`${name}:`.padEnd(15)}${text}`);
}

/** Prints what the marks in samples mean. */
export function printLegend({ paint, line }: Terminal): void {
  line(
    paint.isColorSupported
      ? `${paint.black(paint.bgGreen('supervised'))}  ${paint.dim('context')}  ` +
          `${paint.red(paint.strikethrough('cut off'))}\n`
      : '⟦supervised⟧  context  ⟨cut off⟩\n',
  );
}

const asInspection = ({ tokens, supervisedTokens, spans }: PlannedSample): Parameters<typeof formatInspection>[0] => ({
  tokens,
  supervisedTokens,
  stretches: spans.map(({ text, tokens: count, learned }) => ({
    text,
    tokens: count,
    state: learned ? 'learned' : 'context',
  })),
});

const sizeOf = ({ conversations, tokens, supervisedTokens }: PlannedData): string =>
  `${counted(conversations, 'conversation')}, ${number(tokens)} tokens, ${number(supervisedTokens)} of them learned`;

function rowsOf(plan: RunPlan): readonly (readonly [string, string])[] {
  const { data, learningRate, memory, startStep, totalSteps } = plan;
  const { limitBytes } = memory;
  return [
    ['backend', plan.engine === plan.backend ? plan.backend : `${plan.backend} (${plan.engine})`],
    ['parameters', `${number(plan.trainableParameters)} of ${number(plan.totalParameters)} are trained`],
    ['training data', sizeOf(data.train)],
    ...(data.eval === null ? [] : [['evaluation', sizeOf(data.eval)] as const]),
    [
      'steps',
      `${counted(totalSteps, 'step')}, ${number(plan.stepsPerEpoch)} an epoch` +
        (startStep > 0 ? `; resumes after step ${startStep}` : ''),
    ],
    [
      'learning rate',
      `${rate(learningRate.first)} first, ${rate(learningRate.highest)} at most, ${rate(learningRate.last)} last`,
    ],
    ['evaluations', String(plan.evaluations)],
    ['checkpoints', String(plan.checkpoints)],
    ['memory', `about ${formatBytes(memory.bytes)}${limitBytes === null ? '' : ` of ${formatBytes(limitBytes)}`}`],
    ['output folder', plan.outputFolder ?? 'none: nothing is written'],
  ];
}
