import { savedState } from './attachment-contents.js';
import { assignFromHost, copyToHost, withTensors } from './host-tensors.js';
import { forEachContent, type ChangingObjects } from './run-contents.js';

/** The state of a run in host memory, to which the run can return. */
export interface RestorePoint {
  /** Restores the trained weights, and the states of strategies, optimizer and callbacks. */
  restore(): void;
}

/** Copies everything of a run that training changes to host memory: what a checkpoint stores, without the progress. */
export async function createRestorePoint(objects: ChangingObjects): Promise<RestorePoint> {
  const steps: (() => void)[] = [];
  await forEachContent(objects, {
    state: async (_name, object, plugin) => {
      const { tensors, values } = savedState(plugin, object);
      const copy = await copyToHost(tensors);
      const valuesCopy = structuredClone(values);
      steps.push(() =>
        withTensors(copy, (restored) => object.loadState({ tensors: restored, values: structuredClone(valuesCopy) })),
      );
    },
    weights: async (owner) => {
      // Also the parameters that are trained at later steps only.
      const trainPresent = owner.trainAll?.();
      const weights = await copyToHost(owner.trainable);
      trainPresent?.();
      steps.push(() => {
        const trainRestored = owner.trainAll?.();
        assignFromHost(owner.trainable, weights);
        trainRestored?.();
      });
    },
    callbacks: async (hooks) => {
      const states = structuredClone(await hooks.saveState());
      // A copy, because a callback may keep and change the object.
      steps.push(() => hooks.loadState(structuredClone(states)));
    },
  });
  return {
    restore: () => {
      for (const step of steps) step();
    },
  };
}
