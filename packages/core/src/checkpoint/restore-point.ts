import type { Json } from '../contract/json.js';
import type { SavedState } from '../contract/strategy.js';
import type { CheckpointSources } from './checkpoint.js';
import { assignFromHost, copyToHost, withTensors, type HostTensors } from './host-tensors.js';

/** The state of a run in host memory, to which the run can return. */
export interface RestorePoint {
  /** Restores the trained weights, and the states of strategies, optimizer and callbacks. */
  restore(): void;
}

/** Copies everything of a run that changes to host memory: what a checkpoint stores, apart from the progress. */
export async function createRestorePoint({
  attachments,
  optimizer,
  hooks,
}: Pick<CheckpointSources, 'attachments' | 'optimizer' | 'hooks'>): Promise<RestorePoint> {
  const owner = attachments[0].instance;
  const states: HostState[] = [];
  for (const { instance } of attachments) states.push(await stateToHost(instance.saveState()));
  const optimizerState = await stateToHost(optimizer.instance.saveState());
  const callbacks = structuredClone(await hooks.saveState());
  // Also the parameters that are trained at later steps only.
  const trainPresent = owner.trainAll?.();
  const weights = await copyToHost(owner.trainable);
  trainPresent?.();
  return {
    restore: () => {
      // Strategies first: their trainable parameters can depend on their state.
      for (const [index, { instance }] of attachments.entries())
        loadFromHost(states[index], (state) => instance.loadState(state));
      const trainRestored = owner.trainAll?.();
      assignFromHost(owner.trainable, weights);
      trainRestored?.();
      loadFromHost(optimizerState, (state) => optimizer.instance.loadState(state));
      // A copy, because a callback may keep and change the object.
      hooks.loadState(structuredClone(callbacks));
    },
  };
}

interface HostState {
  readonly tensors: HostTensors;
  readonly values: Json;
}

const stateToHost = async ({ tensors, values }: SavedState): Promise<HostState> => ({
  tensors: await copyToHost(tensors),
  values: structuredClone(values),
});

function loadFromHost(state: HostState | undefined, load: (state: SavedState) => void): void {
  if (state !== undefined)
    withTensors(state.tensors, (tensors) => load({ tensors, values: structuredClone(state.values) }));
}
