import { join } from 'node:path';
import {
  assignFromHost,
  copyToDevice,
  copyToHost,
  withTensors,
  writeJson,
  type HostTensors,
} from '../checkpoint/index.js';
import { loadTensors, saveTensors } from '../checkpoint/saved-tensors.js';
import { WhetstoneError, type Attachment, type Json } from '../contract/index.js';
import { counted } from '../util/index.js';
import { fileError, readText, verifyResult, writeFolder, writeResultManifest } from '../files/index.js';

/**
 * The state that a stage transfers to the next one of the same strategy, in host memory: the trained parameters and the
 * state of the strategy.
 */
export interface StageTransfer {
  readonly trainable: HostTensors;
  readonly state: { readonly tensors: HostTensors; readonly values: Json };
}

/** Copies the trained parameters and the state of an owner to host memory. */
export async function exportState(owner: Attachment): Promise<StageTransfer> {
  const { tensors, values } = owner.saveState();
  return { trainable: await copyToHost(owner.trainable), state: { tensors: await copyToHost(tensors), values } };
}

/**
 * Sets the state of a new attachment of the same strategy.
 *
 * @throws `CONFIG_CONFLICT` if the two train different parameters
 */
export function importState(owner: Attachment, { trainable, state }: StageTransfer): void {
  const names = [...owner.trainable.keys()];
  const difference =
    names.length === trainable.size
      ? names.find((name) => trainable.get(name)?.shape.join() !== owner.trainable.get(name)?.shape.join())
      : `${counted(names.length, 'parameter')} instead of ${trainable.size}`;
  if (difference !== undefined)
    throw new WhetstoneError(
      'CONFIG_CONFLICT',
      'A stage trains different parameters from the previous one, although both have the same strategy.',
      { found: difference },
    );
  withTensors(state.tensors, (tensors) => owner.loadState({ tensors, values: state.values }));
  assignFromHost(owner.trainable, trainable);
}

const TRAINABLE_FILE = 'trainable.safetensors';
const STATE_FILE = 'state.safetensors';
const VALUES_FILE = 'state.json';

/** Writes the state to a folder atomically, so that a resumed run can read it. */
export async function writeStageTransfer(folder: string, { trainable, state }: StageTransfer): Promise<void> {
  await writeFolder(folder, async (temporary) => {
    for (const [file, host] of [
      [TRAINABLE_FILE, trainable],
      [STATE_FILE, state.tensors],
    ] as const) {
      const tensors = copyToDevice(host);
      try {
        await saveTensors(join(temporary, file), tensors);
      } finally {
        for (const each of tensors.values()) each.dispose();
      }
    }
    await writeJson(join(temporary, VALUES_FILE), state.values);
    await writeResultManifest(temporary);
  });
}

/** Reads the state that {@link writeStageTransfer} wrote. @throws `FILE_CHANGED` if a file is missing or changed */
export async function readStageTransfer(folder: string): Promise<StageTransfer> {
  await verifyResult(folder, () => true);
  const read = async (file: string): Promise<HostTensors> => {
    const tensors = await loadTensors(join(folder, file));
    const host = await copyToHost(tensors);
    for (const each of tensors.values()) each.dispose();
    return host;
  };
  const file = join(folder, VALUES_FILE);
  const text = await readText(file).catch((cause: unknown) => {
    throw fileError(cause, file);
  });
  return {
    trainable: await read(TRAINABLE_FILE),
    state: { tensors: await read(STATE_FILE), values: JSON.parse(text) as Json },
  };
}
