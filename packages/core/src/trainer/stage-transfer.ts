import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tensor, type Tensor } from '@tensorflow/tfjs-core';
import { writeFolder, writeJson } from '../checkpoint/index.js';
import { loadTensors, saveTensors } from '../checkpoint/saved-tensors.js';
import { WhetstoneError, type Attachment, type Json } from '../contract/index.js';
import { fileError } from '../files/index.js';

/**
 * What a stage leaves to the next one of the same strategy: what was trained, and the strategy's own state, in the
 * host's memory.
 */
export interface StageTransfer {
  readonly trainable: HostTensors;
  readonly state: { readonly tensors: HostTensors; readonly values: Json };
}

type HostTensors = ReadonlyMap<
  string,
  {
    readonly shape: readonly number[];
    readonly dtype: 'float32' | 'int32' | 'bool';
    readonly values: Float32Array | Int32Array | Uint8Array;
  }
>;

async function toHost(tensors: ReadonlyMap<string, Tensor>): Promise<HostTensors> {
  const host = new Map<string, HostTensors extends ReadonlyMap<string, infer V> ? V : never>();
  for (const [name, each] of tensors)
    host.set(name, {
      shape: [...each.shape],
      dtype: each.dtype as 'float32' | 'int32' | 'bool',
      values: (await each.data()).slice() as Float32Array | Int32Array | Uint8Array,
    });
  return host;
}

function toDevice(host: HostTensors): Map<string, Tensor> {
  return new Map([...host].map(([name, { shape, dtype, values }]) => [name, tensor(values, [...shape], dtype)]));
}

/** Takes a copy of what an owner has learned. */
export async function exportState(owner: Attachment): Promise<StageTransfer> {
  const { tensors, values } = owner.saveState();
  return { trainable: await toHost(owner.trainable), state: { tensors: await toHost(tensors), values } };
}

/**
 * Puts it into a fresh attachment of the same strategy. @throws WhetstoneError `CONFIG_CONFLICT` where the two train
 * different parameters
 */
export function importState(owner: Attachment, { trainable, state }: StageTransfer): void {
  const names = [...owner.trainable.keys()];
  const other =
    names.length === trainable.size
      ? names.find((name) => trainable.get(name)?.shape.join() !== owner.trainable.get(name)?.shape.join())
      : `${names.length} parameters where there were ${trainable.size}`;
  if (other !== undefined)
    throw new WhetstoneError(
      'CONFIG_CONFLICT',
      'A stage trains other parameters than the stage before, although both have the same strategy.',
      { found: other },
    );
  const tensors = toDevice(state.tensors);
  try {
    owner.loadState({ tensors, values: state.values });
  } finally {
    for (const each of tensors.values()) each.dispose();
  }
  for (const [name, value] of toDevice(trainable)) {
    owner.trainable.get(name)?.assign(value);
    value.dispose();
  }
}

const TRAINABLE_FILE = 'trainable.safetensors';
const STATE_FILE = 'state.safetensors';
const VALUES_FILE = 'state.json';

/** Writes it to a folder, whole or not at all, so that a later run can go on from there. */
export async function writeStageTransfer(folder: string, { trainable, state }: StageTransfer): Promise<void> {
  await writeFolder(folder, async (temporary) => {
    for (const [file, host] of [
      [TRAINABLE_FILE, trainable],
      [STATE_FILE, state.tensors],
    ] as const) {
      const tensors = toDevice(host);
      try {
        await saveTensors(join(temporary, file), tensors);
      } finally {
        for (const each of tensors.values()) each.dispose();
      }
    }
    await writeJson(join(temporary, VALUES_FILE), state.values);
  });
}

/** Reads what {@link writeStageTransfer} wrote. */
export async function readStageTransfer(folder: string): Promise<StageTransfer> {
  const read = async (file: string): Promise<HostTensors> => {
    const tensors = await loadTensors(join(folder, file));
    const host = await toHost(tensors);
    for (const each of tensors.values()) each.dispose();
    return host;
  };
  const file = join(folder, VALUES_FILE);
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw fileError(cause, file);
  });
  return {
    trainable: await read(TRAINABLE_FILE),
    state: { tensors: await read(STATE_FILE), values: JSON.parse(text) as Json },
  };
}
