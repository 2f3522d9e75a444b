/**
 * The one table of hooks. Types, the runner, validation at load and the documentation derive from it.
 *
 * - `observe`: told after the fact; may be async, awaited in order.
 * - `transform`: sync waterfall: gets a value and returns its replacement.
 * - `add`: sync: contributes a scalar that is summed with the others, or nothing.
 */
export const hookTable = {
  onRunStart: { kind: 'observe', summary: 'Once, when everything is composed and before the first step or evaluation.' },
  onEpochStart: { kind: 'observe', summary: 'Before the first batch of an epoch.' },
  onStepStart: { kind: 'observe', summary: 'Before the first microbatch of an optimizer step.' },
  transformBatch: { kind: 'transform', summary: 'Replaces a microbatch before it goes through the model.' },
  transformLogits: { kind: 'transform', summary: 'Replaces the logits [positions, vocabulary] of the supervised positions.' },
  addLoss: { kind: 'add', summary: 'A loss term of one microbatch, a differentiable scalar, weighted as the mean loss is.' },
  transformGradients: { kind: 'transform', summary: 'Replaces the accumulated gradients by name, before the update.' },
  onStep: { kind: 'observe', summary: 'After the update, with the step\'s report.' },
  onEvaluate: { kind: 'observe', summary: 'After an evaluation, with its report.' },
  onSave: { kind: 'observe', summary: 'After a checkpoint got its final name.' },
  onEpochEnd: { kind: 'observe', summary: 'After the last step of an epoch.' },
  onRunEnd: { kind: 'observe', summary: 'Once, after the last step and evaluation; not called when the run failed.' },
  onRunError: { kind: 'observe', summary: 'Once, instead of onRunEnd, when the run failed or was interrupted.' },
} as const satisfies Record<string, { readonly kind: 'observe' | 'transform' | 'add'; readonly summary: string }>;

export type HookName = keyof typeof hookTable;
