/**
 * The table of all hooks. Types, the hook runner, the validation of callbacks and the documentation derive from it.
 *
 * - `observe`: receives information and returns nothing. May be async; the hooks of several callbacks are awaited in
 *   order.
 * - `transform`: receives a value and returns its replacement, which the next callback receives. Synchronous.
 * - `add`: returns a scalar, which is added to those of other callbacks, or undefined. Synchronous.
 *
 * `control`: whether the last argument of the hook is a `Control`.
 */
export const hookTable = {
  onRunStart: {
    kind: 'observe',
    control: true,
    summary: 'Once per run, or once per stage, before the first step or evaluation.',
  },
  onEpochStart: { kind: 'observe', control: true, summary: 'Before the first batch of an epoch.' },
  onStepStart: { kind: 'observe', control: true, summary: 'Before the first microbatch of an optimizer step.' },
  transformBatch: {
    kind: 'transform',
    control: false,
    summary: 'Replaces a microbatch before the forward pass.',
  },
  transformLogits: {
    kind: 'transform',
    control: false,
    summary: 'Replaces the logits [positions, vocabulary] of the supervised positions.',
  },
  addLoss: {
    kind: 'add',
    control: false,
    summary: 'Adds a loss term to one microbatch: a differentiable scalar, weighted like the mean loss.',
  },
  transformGradients: {
    kind: 'transform',
    control: true,
    summary: 'Replaces the accumulated gradients before the update.',
  },
  onStep: { kind: 'observe', control: true, summary: 'After the update, with the report of the step.' },
  onEvaluate: { kind: 'observe', control: true, summary: 'After an evaluation, with its report.' },
  onSave: { kind: 'observe', control: true, summary: 'After a checkpoint has been written.' },
  onEpochEnd: { kind: 'observe', control: true, summary: 'After the last step of an epoch.' },
  onRunEnd: {
    kind: 'observe',
    control: false,
    summary: 'Once per run, or once per stage, after the last step and evaluation; not if the run failed.',
  },
  onRunError: {
    kind: 'observe',
    control: false,
    summary: 'Once, instead of onRunEnd, if the run failed or was interrupted.',
  },
} as const satisfies Record<
  string,
  { readonly kind: 'observe' | 'transform' | 'add'; readonly control: boolean; readonly summary: string }
>;

/** The name of a hook. */
export type HookName = keyof typeof hookTable;

/** The members that a callback may have in addition to hooks. */
export const callbackMembers = [
  'nonFinite',
  'rollsBack',
  'requests',
  'evaluationWeights',
  'checkRun',
  'saveState',
  'loadState',
  'dispose',
] as const;

/** The name of a callback's member that is not a hook. */
export type CallbackMember = (typeof callbackMembers)[number];
