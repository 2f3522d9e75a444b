import type { Optimizer } from '../contract/optimizer.js';
import type { Attachment, SavedState } from '../contract/strategy.js';
import type { HookRunner } from '../hooks/types.js';

interface Stateful<T> {
  readonly plugin: string;
  readonly instance: T;
}

/** The objects of a run that training changes. Its progress is apart from them (`run-state.ts`). */
export interface ChangingObjects {
  /** The attachments of all strategies; the owner is the first. */
  readonly attachments: readonly [Stateful<Attachment>, ...Stateful<Attachment>[]];
  readonly optimizer: Stateful<Optimizer>;
  readonly hooks: Pick<HookRunner, 'saveState' | 'loadState'>;
}

/** What is done with each kind of content of a run, such as writing it to a folder. */
export interface ContentHandlers {
  /** The state of the object of a plugin, with a name that is unique in the run. */
  state(
    name: string,
    object: { saveState(): SavedState; loadState(state: SavedState): void },
    plugin: string,
  ): void | Promise<void>;
  /** The weights that the owner trains. */
  weights(owner: Attachment): void | Promise<void>;
  /** The states of all callbacks. */
  callbacks(hooks: ChangingObjects['hooks']): void | Promise<void>;
}

/**
 * Passes everything of a run that training changes to the handlers, in the order in which it must be restored:
 * checkpoints and restore points contain exactly this, and the progress.
 */
export async function forEachContent(
  { attachments, optimizer, hooks }: ChangingObjects,
  { state, weights, callbacks }: ContentHandlers,
): Promise<void> {
  // Strategies first: their trainable parameters can depend on their state.
  for (const [index, { instance, plugin }] of attachments.entries()) await state(`strategy-${index}`, instance, plugin);
  await weights(attachments[0].instance);
  await state('optimizer', optimizer.instance, optimizer.plugin);
  await callbacks(hooks);
}
