import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { ResolvedConfig } from '../config/types.js';
import { WhetstoneError } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
import type { LoadedModel } from '../contract/model.js';
import type { Optimizer } from '../contract/optimizer.js';
import type { Attachment, SavedState } from '../contract/strategy.js';
import type { HookRunner } from '../hooks/types.js';
import { checkpointFolder, writeFolder } from './folders.js';
import { readJson, writeJson, writeManifest } from './manifest.js';
import { parseRunState, trainerState, type RunState, type TrainerStateFacts } from './run-state.js';
import { loadTensors, saveTensors } from './saved-tensors.js';
import { copyTemplate, readTrained, writeCompanions, writeRestOfTrainable, writeTrained } from './weights.js';
import { isRecord } from '../util/index.js';

interface Stateful<T> {
  readonly plugin: string;
  readonly instance: T;
}

/** What a checkpoint is taken of and put back into: everything of a run that changes. */
export interface CheckpointSources {
  readonly config: ResolvedConfig;
  readonly loaded: LoadedModel;
  /** The owner first. */
  readonly attachments: readonly [Stateful<Attachment>, ...Stateful<Attachment>[]];
  readonly optimizer: Stateful<Optimizer>;
  readonly schedule: { readonly plugin: string };
  readonly hooks: Pick<HookRunner, 'saveState' | 'loadState'>;
  readonly dataHash: string;
}

const STATE_FILE = 'whetstone_state.json';
const CONFIG_FILE = 'config.resolved.json';

/** What must be the same for a run to go on exactly; the configuration as a whole only deserves a warning. */
interface Identity {
  readonly plugins: { readonly strategies: readonly string[]; readonly optimizer: string; readonly schedule: string };
  readonly architecture: string;
  readonly rendererHash: string;
  readonly dataHash: string;
  readonly configHash: string;
}

const identityOf = ({ config, loaded, attachments, optimizer, schedule, dataHash }: CheckpointSources): Identity => ({
  plugins: {
    strategies: attachments.map(({ plugin }) => plugin),
    optimizer: optimizer.plugin,
    schedule: schedule.plugin,
  },
  architecture: loaded.model.architecture,
  rendererHash: loaded.renderer.hash,
  dataHash,
  configHash: hashConfig(config),
});

/** Hash of what decides the numbers: where a run writes and whether it resumes is left out. */
function hashConfig(config: ResolvedConfig): string {
  const deciding = {
    ...config,
    output: null,
    loggers: null,
    training: { ...config.training, resumeFromCheckpoint: null, resumeDespite: [] },
  };
  return createHash('sha256').update(JSON.stringify(deciding)).digest('hex');
}

/**
 * Writes `checkpoint-<step>/` into the run's folder, whole or not at all: weights or adapter, optimizer, strategies,
 * callbacks, position in the data, and a manifest with size and hash of every file.
 *
 * @returns its folder. @throws `DISK_FULL` and other errors of files.
 */
export async function saveCheckpoint(
  root: string,
  parts: CheckpointSources,
  state: RunState,
  facts: Omit<TrainerStateFacts, 'callbacks'>,
): Promise<string> {
  const folder = checkpointFolder(root, state.step);
  const [owner] = parts.attachments;
  const callbacks = parts.hooks.saveState();
  await writeFolder(folder, async (temporary) => {
    const at = (name: string): string => join(temporary, name);
    await writeTrained(temporary, parts.loaded.model, owner.instance);
    await writeRestOfTrainable(temporary, parts.loaded.model, owner.instance);
    await writeCompanions(temporary, parts.loaded);
    await copyTemplate(temporary, parts.config.chatTemplatePath);
    await writeState(temporary, 'optimizer', parts.optimizer.instance.saveState());
    for (const [index, { instance }] of parts.attachments.entries())
      await writeState(temporary, `strategy-${index}`, instance.saveState());
    await writeJson(at('scheduler.json'), { plugin: parts.schedule.plugin, step: state.step });
    await writeJson(at('trainer_state.json'), trainerState(state, { ...facts, callbacks }));
    await writeJson(at(CONFIG_FILE), parts.config);
    await writeJson(at(STATE_FILE), { identity: identityOf(parts), run: state, callbacks });
    await writeManifest(temporary, state.step);
  });
  return folder;
}

/**
 * Puts a checkpoint that was proven whole back into a run: afterwards the run goes on bit for bit as the one that wrote
 * it.
 *
 * @param warn told what differs without making it impossible.
 * @throws `CHECKPOINT_INVALID` where it is of another run; of another template or other data, unless
 *   `training.resumeDespite` says so.
 */
export async function loadCheckpoint(
  folder: string,
  parts: CheckpointSources,
  warn: (message: string) => void,
): Promise<RunState> {
  const file = join(folder, STATE_FILE);
  const saved = await readJson(file);
  if (!isRecord(saved) || !isRecord(saved['identity']))
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The state of the run is missing.', { place: { file } });
  compareIdentity(
    saved['identity'] as unknown as Identity,
    identityOf(parts),
    file,
    parts.config.training.resumeDespite,
    warn,
  );
  const state = parseRunState(saved['run'], file);
  const [owner] = parts.attachments;
  // Strategies first: what they train may depend on their state.
  for (const [index, { instance }] of parts.attachments.entries())
    await readState(folder, `strategy-${index}`, (value) => instance.loadState(value));
  await readTrained(folder, parts.loaded.model, owner.instance);
  await readState(folder, 'optimizer', (value) => parts.optimizer.instance.loadState(value));
  parts.hooks.loadState((saved['callbacks'] ?? null) as Json);
  return state;
}

/** What a run may go on with only where it was told to: what the model would see is no longer what it saw. */
const intendedChanges = [
  {
    name: 'template',
    key: 'rendererHash',
    message: 'The chat template is not the one that the checkpoint was trained with.',
  },
  {
    name: 'data',
    key: 'dataHash',
    message:
      'The training data is not what the checkpoint was trained on: the order of its batches would go on by ' +
      'number only.',
  },
] as const;

function compareIdentity(
  saved: Identity,
  present: Identity,
  file: string,
  despite: ResolvedConfig['training']['resumeDespite'],
  warn: (message: string) => void,
): void {
  const essential = ['plugins', 'architecture'] as const;
  for (const key of essential) {
    if (JSON.stringify(saved[key]) === JSON.stringify(present[key])) continue;
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The checkpoint belongs to a run with other parts.', {
      place: { file, path: `identity.${key}` },
      expected: JSON.stringify(present[key]),
      found: JSON.stringify(saved[key]),
      hint: 'Resume under the configuration that wrote it, or start a new run.',
    });
  }
  for (const { name, key, message } of intendedChanges) {
    if (saved[key] === present[key]) continue;
    if (despite.includes(name)) {
      warn(message);
      continue;
    }
    throw new WhetstoneError('CHECKPOINT_INVALID', message, {
      place: { file, path: `identity.${key}` },
      expected: `${present[key]} (SHA-256 of what the configuration has now)`,
      found: `${saved[key]} (in the checkpoint)`,
      hint:
        'Put back what it was trained with; or, where the change is meant, set training.resumeDespite to ' +
        `["${name}"]: the run then goes on, but is not the one that would have been.`,
    });
  }
  if (saved.configHash !== present.configHash)
    warn(`The configuration is not the one that wrote the checkpoint (${CONFIG_FILE} in its folder).`);
}

async function writeState(folder: string, name: string, { tensors, values }: SavedState): Promise<void> {
  if (tensors.size > 0) await saveTensors(join(folder, `${name}.safetensors`), tensors);
  await writeJson(join(folder, `${name}.json`), { values, tensors: tensors.size });
}

async function readState(folder: string, name: string, load: (state: SavedState) => void): Promise<void> {
  const saved = await readJson(join(folder, `${name}.json`));
  if (!isRecord(saved))
    throw new WhetstoneError('CHECKPOINT_INVALID', 'A state is no object.', {
      place: { file: join(folder, `${name}.json`) },
    });
  const tensors =
    saved['tensors'] === 0 ? new Map<string, never>() : await loadTensors(join(folder, `${name}.safetensors`));
  try {
    load({ tensors, values: (saved['values'] ?? null) as Json });
  } finally {
    for (const tensor of tensors.values()) (tensor as { dispose(): void }).dispose();
  }
}
