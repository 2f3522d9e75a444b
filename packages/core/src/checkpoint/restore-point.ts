import { join } from 'node:path';
import type { Json } from '../contract/json.js';
import { exists } from '../files/index.js';
import { savedState } from './attachment-contents.js';
import { assignFromHost, copyToDevice, copyToHost, withTensors, type HostTensors } from './host-tensors.js';
import { readJson, writeJson } from './manifest.js';
import { forEachContent, type ChangingObjects } from './run-contents.js';
import { loadTensors, saveTensors } from './saved-tensors.js';

/** The state of a strategy or optimizer in host memory. */
interface HostState {
  readonly tensors: HostTensors;
  readonly values: Json;
}

/** Everything of a run that training changes, in host memory: what a checkpoint stores, without the progress. */
export interface RestorePoint {
  /** The states of strategies and optimizer, by name. */
  readonly states: ReadonlyMap<string, HostState>;
  readonly weights: HostTensors;
  readonly callbacks: Json;
}

/** Copies everything of a run that training changes to host memory. */
export async function createRestorePoint(objects: ChangingObjects): Promise<RestorePoint> {
  const states = new Map<string, HostState>();
  let weights: HostTensors = new Map();
  let callbacks: Json = null;
  await forEachContent(objects, {
    state: async (name, object, plugin) => {
      const { tensors, values } = savedState(plugin, object);
      states.set(name, { tensors: await copyToHost(tensors), values: structuredClone(values) });
    },
    weights: async (owner) => {
      // Also the parameters that are trained at later steps only.
      const trainPresent = owner.trainAll?.();
      weights = await copyToHost(owner.trainable);
      trainPresent?.();
    },
    callbacks: async (hooks) => {
      callbacks = structuredClone(await hooks.saveState());
    },
  });
  return { states, weights, callbacks };
}

/** Restores the trained weights, and the states of strategies, optimizer and callbacks. */
export function returnToRestorePoint(objects: ChangingObjects, point: RestorePoint): Promise<void> {
  return forEachContent(objects, {
    state: (name, object) => {
      const saved = point.states.get(name);
      if (saved !== undefined)
        withTensors(saved.tensors, (tensors) => object.loadState({ tensors, values: structuredClone(saved.values) }));
    },
    weights: (owner) => {
      const trainRestored = owner.trainAll?.();
      assignFromHost(owner.trainable, point.weights);
      trainRestored?.();
    },
    // A copy, because a callback may keep and change the object.
    callbacks: (hooks) => hooks.loadState(structuredClone(point.callbacks)),
  });
}

/** A restore point in a checkpoint, with the progress of the run at that point. */
export interface SavedRestorePoint {
  readonly point: RestorePoint;
  readonly progress: Json;
}

const POINT_FILE = 'restore-point.json';
const tensorsFile = (name: string): string => `restore-point-${name}.safetensors`;

/** Writes a restore point into the folder of a checkpoint. */
export async function writeRestorePoint(folder: string, { point, progress }: SavedRestorePoint): Promise<void> {
  const states: Record<string, Json> = {};
  const weights: HostState = { tensors: point.weights, values: null };
  for (const [name, { tensors, values }] of new Map(point.states).set('weights', weights)) {
    states[name] = values;
    if (tensors.size > 0) await saveHostTensors(join(folder, tensorsFile(name)), tensors);
  }
  await writeJson(join(folder, POINT_FILE), { states, callbacks: point.callbacks, progress });
}

/** Reads the restore point of a checkpoint; null if it has none. */
export async function readRestorePoint(folder: string): Promise<SavedRestorePoint | null> {
  if (!exists(join(folder, POINT_FILE))) return null;
  const { states, callbacks, progress } = (await readJson(join(folder, POINT_FILE))) as {
    readonly states: Readonly<Record<string, Json>>;
    readonly callbacks: Json;
    readonly progress: Json;
  };
  const read = new Map<string, HostState>();
  for (const [name, values] of Object.entries(states))
    read.set(name, { tensors: await readHostTensors(join(folder, tensorsFile(name))), values });
  const weights = read.get('weights')?.tensors ?? new Map();
  read.delete('weights');
  return { point: { states: read, weights, callbacks }, progress };
}

async function saveHostTensors(file: string, host: HostTensors): Promise<void> {
  const tensors = copyToDevice(host);
  try {
    await saveTensors(file, tensors);
  } finally {
    for (const each of tensors.values()) each.dispose();
  }
}

async function readHostTensors(file: string): Promise<HostTensors> {
  if (!exists(file)) return new Map();
  const tensors = await loadTensors(file);
  try {
    return await copyToHost(tensors);
  } finally {
    for (const each of tensors.values()) each.dispose();
  }
}
