/**
 * The one table of hooks. Types, the runner, validation at load and the documentation derive from it.
 *
 * - `observe`: told after the fact; may be async, awaited in order.
 * - `transform`: sync waterfall: gets a value and returns its replacement.
 * - `add`: sync: contributes a scalar that is summed with the others, or nothing.
 *
 * `control`: whether the hook's last argument is the `Control` to ask with.
 */
export const hookTable = {
  onRunStart: {
    kind: 'observe',
    control: true,
    summary: 'Once, or once a stage, when everything is composed and before the first step or evaluation.',
  },
  onEpochStart: { kind: 'observe', control: true, summary: 'Before the first batch of an epoch.' },
  onStepStart: { kind: 'observe', control: true, summary: 'Before the first microbatch of an optimizer step.' },
  transformBatch: {
    kind: 'transform',
    control: false,
    summary: 'Replaces a microbatch before it goes through the model.',
  },
  transformLogits: {
    kind: 'transform',
    control: false,
    summary: 'Replaces the logits [positions, vocabulary] of the supervised positions.',
  },
  addLoss: {
    kind: 'add',
    control: false,
    summary: 'A loss term of one microbatch, a differentiable scalar, weighted as the mean loss is.',
  },
  transformGradients: {
    kind: 'transform',
    control: true,
    summary: 'Replaces the accumulated gradients by name, before the update.',
  },
  onStep: { kind: 'observe', control: true, summary: "After the update, with the step's report." },
  onEvaluate: { kind: 'observe', control: true, summary: 'After an evaluation, with its report.' },
  onSave: { kind: 'observe', control: true, summary: 'After a checkpoint got its final name.' },
  onEpochEnd: { kind: 'observe', control: true, summary: 'After the last step of an epoch.' },
  onRunEnd: {
    kind: 'observe',
    control: false,
    summary: 'Once, or once a stage, after the last step and evaluation; not called when the run failed.',
  },
  onRunError: {
    kind: 'observe',
    control: false,
    summary: 'Once, instead of onRunEnd, when the run failed or was interrupted.',
  },
} as const satisfies Record<
  string,
  { readonly kind: 'observe' | 'transform' | 'add'; readonly control: boolean; readonly summary: string }
>;

/** The name of a hook. */
export type HookName = keyof typeof hookTable;

/** What a callback may have besides hooks. */
export const callbackMembers = ['nonFinite', 'saveState', 'loadState', 'dispose'] as const;

/** The name of a member of a callback that is not a hook. */
export type CallbackMember = (typeof callbackMembers)[number];
