import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { ResolvedConfig } from '../config/types.js';
import type { BatchSource } from '../contract/data.js';
import { WhetstoneError } from '../contract/errors.js';
import type { Json } from '../contract/json.js';
import type { LoadedModel } from '../contract/model.js';
import type { SavedState, Strategy } from '../contract/strategy.js';
import type { TensorBackendInfo } from '../contract/tokens.js';
import type { Workers } from '../contract/workers.js';
import { writeFolder } from '../files/index.js';
import type { HookRunner } from '../hooks/types.js';
import { checkFinite, savedState } from './attachment-contents.js';
import { sizesOf, type BatchSizes } from './batch-sizes.js';
import { checkpointFolder } from './folders.js';
import { listed, type Difference } from './compare-config.js';
import { compareRuns, identityOf, type Identity } from './identity.js';
import { readJson, writeCheckpointManifest, writeJson } from './manifest.js';
import { readRestorePoint, writeRestorePoint, type SavedRestorePoint } from './restore-point.js';
import { forEachContent, type ChangingObjects } from './run-contents.js';
import { parseRunState, STATE_FILE, trainerState, type RunState, type TrainerStateFacts } from './run-state.js';
import { loadTensors, saveTensors } from './saved-tensors.js';
import {
  copyGenerationConfig,
  copyTemplate,
  readTrained,
  writeCompanions,
  writeEvaluationWeights,
  writeOrigin,
  writeRestOfTrainable,
  writeStopTokens,
  writeTrained,
  type AdapterOrigin,
} from './weights.js';
import { isRecord } from '../util/index.js';

/** The objects whose state a checkpoint stores and restores, and what identifies their run. */
export interface CheckpointSources extends ChangingObjects {
  readonly config: ResolvedConfig;
  readonly loaded: LoadedModel;
  readonly owner: { readonly instance: Pick<Strategy, 'changeableOptions'> };
  /** What the folder of an adapter records; null without an adapter. */
  readonly origin: AdapterOrigin | null;
  readonly backend: Pick<TensorBackendInfo, 'backend' | 'engine'>;
  readonly workers: Pick<Workers, 'count'>;
  readonly schedule: { readonly plugin: string };
  readonly hooks: ChangingObjects['hooks'] & Pick<HookRunner, 'marksBest'>;
  readonly evalData: Pick<BatchSource, 'summary'> | null;
  readonly dataHash: string;
  /** The hash of the base model of an adapter; null if unknown, or without an adapter. */
  readonly baseHash: string | null;
  /** Returns the weights for evaluation that differ from the training weights. Stored with the best weights only. */
  readonly evaluationWeights: () => ReadonlyMap<string, Tensor>;
  /** The restore point of the run, which a checkpoint contains if a rollback can be requested before the next step. */
  readonly restorePoint: {
    needed(): SavedRestorePoint | null;
    load(saved: SavedRestorePoint): void;
  };
}

const CONFIG_FILE = 'config.resolved.json';

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
      state: (name, object, plugin) => writeState(temporary, name, plugin, savedState(plugin, object)),
      weights: async (owner) => {
        await writeTrained(temporary, model, owner);
        await writeRestOfTrainable(temporary, model, owner);
      },
      callbacks: async (hooks) => {
        callbacks = await hooks.saveState();
      },
    });
    if (state.best?.step === state.step) await writeEvaluationWeights(temporary, sources.evaluationWeights());
    const point = sources.restorePoint.needed();
    if (point !== null) await writeRestorePoint(temporary, point);
    await writeCompanions(temporary, sources.loaded);
    await copyTemplate(temporary, sources.config.chatTemplatePath);
    if (sources.origin === null) await copyGenerationConfig(temporary, model);
    else await writeOrigin(temporary, sources.origin);
    await writeStopTokens(temporary, sources.loaded, sources.origin !== null);
    await writeJson(at('scheduler.json'), { plugin: sources.schedule.plugin, step: state.step });
    await writeJson(at('trainer_state.json'), trainerState(state, { ...facts, callbacks }));
    await writeJson(at(CONFIG_FILE), sources.config);
    await writeJson(at(STATE_FILE), { identity: identityOf(sources), run: state, callbacks });
    await writeCheckpointManifest(temporary, state.step);
  });
  return folder;
}

/**
 * Restores a verified checkpoint into a run. The run then continues bit for bit like the run that wrote it. Returns the
 * state of that run.
 *
 * @param warn receives differences that do not prevent resuming
 * @throws `CHECKPOINT_INVALID` if the checkpoint belongs to a different strategy, model, template or data, or if a file
 *   is missing or invalid. `training.resumeDespite` can allow what does not decide the meaning of the tensors
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
  const config = await readJson(join(folder, CONFIG_FILE));
  const evaluatedBy = compareRuns({ identity: saved['identity'] as unknown as Identity, config, file }, sources, warn);
  const state = parseRunState(saved['run'], file);
  await forEachContent(sources, {
    state: (name, object) => readState(folder, name, (value) => object.loadState(value)),
    weights: (owner) => readTrained(folder, sources.loaded.model, owner),
    callbacks: (hooks) => hooks.loadState((saved['callbacks'] ?? null) as Json),
  });
  const point = await readRestorePoint(folder);
  if (point !== null) sources.restorePoint.load(point);
  return {
    ...state,
    best: comparableBest(state, evaluatedBy, sources, warn),
    sizes: state.sizes ?? savedSizes(config, folder),
  };
}

/** Returns the best weights so far; null if they cannot be compared with those of later evaluations. */
function comparableBest(
  { best }: RunState,
  differences: readonly Difference[],
  { config, hooks }: CheckpointSources,
  warn: (message: string) => void,
): RunState['best'] {
  // Without loadBestModelAtEnd, callbacks decide which weights are the best.
  if (best === null || differences.length === 0 || (!config.training.loadBestModelAtEnd && hooks.marksBest))
    return best;
  warn(`The best weights so far, those of step ${best.step}, no longer count: ${listed(differences)}.`);
  return null;
}

/** Returns the batch sizes of a checkpoint of an earlier version, which are in its configuration only. */
function savedSizes(config: unknown, folder: string): BatchSizes {
  if (isRecord(config) && isRecord(config['training']) && isRecord(config['data']))
    return sizesOf(config as unknown as ResolvedConfig);
  throw new WhetstoneError('CHECKPOINT_INVALID', 'The file is not the configuration of a run.', {
    place: { file: join(folder, CONFIG_FILE) },
  });
}

async function writeState(
  folder: string,
  name: string,
  plugin: string,
  { tensors, values }: SavedState,
): Promise<void> {
  if (tensors.size > 0)
    await saveTensors(join(folder, `${name}.safetensors`), tensors, (tensor, numbers) =>
      checkFinite(plugin, tensor, numbers),
    );
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
