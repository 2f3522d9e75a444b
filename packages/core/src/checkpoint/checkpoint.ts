import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { ResolvedConfig } from '../config/types.js';
import { WhetstoneError } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
import type { LoadedModel } from '../contract/model.js';
import type { SavedState } from '../contract/strategy.js';
import { checkpointFolder, writeFolder } from './folders.js';
import { readJson, writeJson, writeManifest } from './manifest.js';
import { forEachContent, type ChangingObjects } from './run-contents.js';
import { parseRunState, STATE_FILE, trainerState, type RunState, type TrainerStateFacts } from './run-state.js';
import { loadTensors, saveTensors } from './saved-tensors.js';
import {
  copyTemplate,
  readTrained,
  writeCompanions,
  writeEvaluationWeights,
  writeRestOfTrainable,
  writeTrained,
} from './weights.js';
import { isRecord } from '../util/index.js';

/** The objects whose state a checkpoint stores and restores, and what identifies their run. */
export interface CheckpointSources extends ChangingObjects {
  readonly config: ResolvedConfig;
  readonly loaded: LoadedModel;
  readonly schedule: { readonly plugin: string };
  readonly dataHash: string;
  /** Returns the weights for evaluation that differ from the training weights. Stored with the best weights only. */
  readonly evaluationWeights: () => ReadonlyMap<string, Tensor>;
}

const CONFIG_FILE = 'config.resolved.json';

/**
 * The properties of a run that a checkpoint must match to resume exactly. A different `configHash` causes a warning
 * only.
 */
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

/**
 * Returns the SHA-256 of the configuration without the keys that do not affect results: output, loggers, resuming, the
 * limit of rollbacks.
 */
function hashConfig(config: ResolvedConfig): string {
  const { maxRollbacks: _limit, ...training } = config.training;
  const relevant = {
    ...config,
    output: null,
    loggers: null,
    training: { ...training, resumeFromCheckpoint: null, resumeDespite: [] },
  };
  return createHash('sha256').update(JSON.stringify(relevant)).digest('hex');
}

/**
 * Writes the folder `checkpoint-<step>/` atomically and returns it. It contains weights or adapter, the states of
 * optimizer, strategies and callbacks, and the position in the data. A manifest lists the size and hash of every file.
 *
 * @throws `DISK_FULL` if there is not enough space
 * @throws the other errors of {@link writeFolder}
 */
export async function saveCheckpoint(
  root: string,
  sources: CheckpointSources,
  state: RunState,
  facts: Omit<TrainerStateFacts, 'callbacks'>,
): Promise<string> {
  const folder = checkpointFolder(root, state.step);
  const { model } = sources.loaded;
  await writeFolder(folder, async (temporary) => {
    const at = (name: string): string => join(temporary, name);
    let callbacks: Json = null;
    await forEachContent(sources, {
      state: (name, object) => writeState(temporary, name, object.saveState()),
      weights: async (owner) => {
        await writeTrained(temporary, model, owner);
        await writeRestOfTrainable(temporary, model, owner);
      },
      callbacks: async (hooks) => {
        callbacks = await hooks.saveState();
      },
    });
    if (state.best?.step === state.step) await writeEvaluationWeights(temporary, sources.evaluationWeights());
    await writeCompanions(temporary, sources.loaded);
    await copyTemplate(temporary, sources.config.chatTemplatePath);
    await writeJson(at('scheduler.json'), { plugin: sources.schedule.plugin, step: state.step });
    await writeJson(at('trainer_state.json'), trainerState(state, { ...facts, callbacks }));
    await writeJson(at(CONFIG_FILE), sources.config);
    await writeJson(at(STATE_FILE), { identity: identityOf(sources), run: state, callbacks });
    await writeManifest(temporary, state.step);
  });
  return folder;
}

/**
 * Restores a verified checkpoint into a run. The run then continues bit for bit like the run that wrote it. Returns the
 * state of that run.
 *
 * @param warn receives differences that do not prevent resuming
 * @throws `CHECKPOINT_INVALID` if the checkpoint belongs to a different strategy, model, template or data, or if a file
 *   is missing or invalid. `training.resumeDespite` can allow a different template or data
 */
export async function loadCheckpoint(
  folder: string,
  sources: CheckpointSources,
  warn: (message: string) => void,
): Promise<RunState> {
  const file = join(folder, STATE_FILE);
  const saved = await readJson(file);
  if (!isRecord(saved) || !isRecord(saved['identity']))
    throw new WhetstoneError('CHECKPOINT_INVALID', 'The checkpoint does not contain the state of a run.', {
      place: { file },
    });
  compareIdentity(
    saved['identity'] as unknown as Identity,
    identityOf(sources),
    file,
    sources.config.training.resumeDespite,
    warn,
  );
  const state = parseRunState(saved['run'], file);
  await forEachContent(sources, {
    state: (name, object) => readState(folder, name, (value) => object.loadState(value)),
    weights: (owner) => readTrained(folder, sources.loaded.model, owner),
    callbacks: (hooks) => hooks.loadState((saved['callbacks'] ?? null) as Json),
  });
  return state;
}

/** Differences that `training.resumeDespite` can allow: the model would see other text than before. */
const allowableDifferences = [
  {
    name: 'template',
    key: 'rendererHash',
    message: 'The chat template differs from the one that the checkpoint was trained with.',
  },
  {
    name: 'data',
    key: 'dataHash',
    message:
      'The training data differs from the data that the checkpoint was trained on. Only the number of consumed ' +
      'batches can be restored.',
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
    throw new WhetstoneError(
      'CHECKPOINT_INVALID',
      'The checkpoint belongs to a run with different plugins or a different model.',
      {
        place: { file, path: `identity.${key}` },
        expected: JSON.stringify(present[key]),
        found: JSON.stringify(saved[key]),
        hint: 'Resume with the configuration that wrote the checkpoint, or start a new run.',
      },
    );
  }
  for (const { name, key, message } of allowableDifferences) {
    if (saved[key] === present[key]) continue;
    if (despite.includes(name)) {
      warn(message);
      continue;
    }
    throw new WhetstoneError('CHECKPOINT_INVALID', message, {
      place: { file, path: `identity.${key}` },
      expected: `${present[key]} (SHA-256 under the current configuration)`,
      found: `${saved[key]} (in the checkpoint)`,
      hint:
        `Restore the original ${name}. If the change is intended, set training.resumeDespite to ["${name}"]: the ` +
        'results then differ from those of an uninterrupted run.',
    });
  }
  if (saved.configHash !== present.configHash)
    warn(`The configuration differs from the one that wrote the checkpoint (${CONFIG_FILE} in its folder).`);
}

async function writeState(folder: string, name: string, { tensors, values }: SavedState): Promise<void> {
  if (tensors.size > 0) await saveTensors(join(folder, `${name}.safetensors`), tensors);
  await writeJson(join(folder, `${name}.json`), { values, tensors: tensors.size });
}

async function readState(folder: string, name: string, load: (state: SavedState) => void): Promise<void> {
  const saved = await readJson(join(folder, `${name}.json`));
  if (!isRecord(saved))
    throw new WhetstoneError('CHECKPOINT_INVALID', 'A state in the checkpoint is not an object.', {
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
