import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { copyCompanionFiles, writeFolder, writeModel } from '../checkpoint/index.js';
import type { ResolvedStage } from '../config/resolve-stages.js';
import type { ConfigResolution } from '../config/resolve-config.js';
import type { ResolvedConfig } from '../config/types.js';
import { LOADED_MODEL, WhetstoneError, type LoadedModel, type RunReport, type StepReport } from '../contract/index.js';
import { provide, type ServiceRegistration } from '../container.js';
import type { RunStage } from '../training/train-run.js';
import type { StageComposition } from './compose.js';
import {
  importState,
  readStageTransfer,
  exportState,
  writeStageTransfer,
  type StageTransfer,
} from './stage-transfer.js';
import { checkOutputFolder, claimOutputFolder } from './output-folder.js';
import { findResume, stageFolder, writeDone } from './stage-folders.js';

/** Composes and runs one stage. Calls `useModel` with the model of the stage. */
export type RunOneStage = (
  resolution: ConfigResolution,
  services: readonly ServiceRegistration[],
  stage: StageComposition,
  useModel: (loaded: LoadedModel, isOurs: boolean) => void,
) => AsyncGenerator<StepReport, RunReport, void>;

/**
 * The folder of a stage's merged model, for a next stage whose strategy differs and cannot continue with the adapter.
 */
const MERGED_FOLDER = 'merged';
const TRANSFER_FOLDER = 'hand-over';

/**
 * Runs stages one after the other. A stage with the same strategy as the previous one continues with its trained
 * parameters. A stage with a different strategy starts from the model into which those are merged. Each stage writes to
 * a subfolder of the run's folder; the result of the last stage is that of the run. On resume, completed stages are
 * skipped.
 */
export async function* runStages(
  stages: readonly ResolvedStage[],
  runOne: RunOneStage,
  checkData: (stage: ResolvedStage) => Promise<void>,
): AsyncGenerator<StepReport, RunReport, void> {
  const names = stages.map(({ name }) => name ?? '');
  const [firstStage] = stages;
  if (firstStage === undefined) throw new WhetstoneError('INTERNAL', 'A staged run has no stage.');
  const shared: ResolvedConfig = {
    ...firstStage.resolution.config,
    stages: stages.map(({ name, resolution }) => ({ name: name ?? '', config: resolution.config })),
  };
  const root = shared.output.folder;
  await checkOutputFolder(shared);
  const resume = await findResume(shared, names);
  const reports: RunReport[] = [...(resume?.done ?? [])];
  // Missing files of all stages are reported before the first stage is trained.
  for (const stage of stages.slice(reports.length)) await checkData(stage);
  let loaded: LoadedModel | null = null;
  let transfer: StageTransfer | null = null;
  let claimed = false;
  let ownsModel = false;
  try {
    for (const [index, { name, resolution }] of stages.entries()) {
      if (index < reports.length) continue;
      const next = stages[index + 1];
      const folder = root === null ? null : stageFolder(root, index, name ?? '');
      const readsModel = loaded === null;
      const modelFolder = root === null ? null : modelBefore(root, names, index);
      if (readsModel && root !== null && index > 0 && sameOwner(stages[index - 1], stages[index]))
        transfer = await readTransferFolder(
          join(stageFolder(root, index - 1, names[index - 1] ?? ''), TRANSFER_FOLDER),
        );
      const received = transfer;
      let exported: StageTransfer | null = null;
      const continues = next !== undefined && sameOwner(stages[index], next);
      let isMerged = false;
      const run: RunStage = {
        name: name ?? '',
        index,
        count: stages.length,
        modelFolder,
        resultFolder: next === undefined ? root : folder,
        importState: (owner) => {
          if (received !== null) importState(owner, received);
          if (next === undefined || continues || owner.exportAdapter === undefined || owner.merge !== undefined) return;
          throw new WhetstoneError(
            'CONFIG_CONFLICT',
            `Stage '${next.name}' has a different strategy from stage '${name}', whose adapter cannot be merged ` +
              'into the model.',
            {
              expected: 'the same strategy and options in both, or a strategy whose adapter can be merged',
              found: `${ownerOf(stages[index])}, then ${ownerOf(next)}`,
            },
          );
        },
        exportState: async (owner) => {
          if (next === undefined || owner.exportAdapter === undefined) return;
          if (continues) exported = await exportState(owner);
          else {
            owner.merge?.();
            isMerged = true;
          }
        },
      };
      const composition: StageComposition = {
        run,
        isLast: next === undefined,
        claimOutput: async () => {
          if (!claimed) await claimOutputFolder(shared);
          claimed = true;
          if (root !== null && index === reports.length) await writeDone(root, names, reports);
        },
      };
      const services = loaded === null ? [] : [provide(LOADED_MODEL, loaded)];
      const own = stageResolution(resolution, folder, resume, {
        index: index - (resume?.done.length ?? 0),
        path: readsModel ? modelFolder : null,
      });
      const report = yield* runOne(own, services, composition, (model, isOurs) => {
        if (loaded === null) ownsModel = isOurs;
        loaded = model;
      });
      transfer = exported;
      if (folder !== null && exported !== null) await writeStageTransfer(join(folder, TRANSFER_FOLDER), exported);
      if (folder !== null && isMerged) await saveMerged(join(folder, MERGED_FOLDER), loaded, shared.chatTemplatePath);
      reports.push(report);
      if (root !== null) await writeDone(root, names, reports);
      // A different strategy may store the weights in another format, so it reads them again, as a resumed run does.
      if (root === null || next === undefined || continues || !ownsModel) continue;
      (loaded as LoadedModel | null)?.model.dispose();
      loaded = null;
    }
  } finally {
    if (ownsModel) (loaded as LoadedModel | null)?.model.dispose();
  }
  return combineReports(reports, root);
}

const ownerOf = (stage: ResolvedStage | undefined): string => JSON.stringify(stage?.resolution.config.strategy ?? null);
const sameOwner = (one: ResolvedStage | undefined, other: ResolvedStage | undefined): boolean =>
  ownerOf(one) === ownerOf(other);

/** Returns the folder of the newest model that a stage before `index` wrote; null if there is none. */
function modelBefore(root: string, names: readonly string[], index: number): string | null {
  for (let before = index - 1; before >= 0; before -= 1) {
    for (const name of [MERGED_FOLDER, 'model']) {
      const folder = join(stageFolder(root, before, names[before] ?? ''), name);
      if (existsSync(join(folder, 'config.json'))) return folder;
    }
  }
  return null;
}

/**
 * Reads the previous stage's state. Returns null if that stage trained the model itself, which is in its model folder.
 */
async function readTransferFolder(folder: string): Promise<StageTransfer | null> {
  return existsSync(folder) ? readStageTransfer(folder) : null;
}

async function saveMerged(folder: string, loaded: LoadedModel | null, chatTemplatePath: string | null): Promise<void> {
  if (loaded === null) return;
  await writeFolder(folder, async (temporary) => {
    await writeModel(temporary, loaded.model);
    await copyCompanionFiles(temporary, loaded, chatTemplatePath);
  });
}

/** Returns the configuration of a stage in its own folder. `path` replaces the configured model. */
function stageResolution(
  resolution: ConfigResolution,
  folder: string | null,
  resume: Awaited<ReturnType<typeof findResume>>,
  { index, path }: { readonly index: number; readonly path: string | null },
): ConfigResolution {
  const { config } = resolution;
  const resumeFromCheckpoint = index === 0 ? (resume?.next ?? null) : null;
  const own: ResolvedConfig = {
    ...config,
    model: path === null ? config.model : { ...config.model, path },
    training: { ...config.training, resumeFromCheckpoint },
    // The files of a stage without a checkpoint cannot be resumed.
    output: { folder, overwrite: resumeFromCheckpoint === null },
  };
  return { ...resolution, config: Object.freeze(own) };
}

/** Combines the reports of all stages: the losses before the first and after the last, and the sums of the others. */
function combineReports(reports: readonly RunReport[], outputFolder: string | null): RunReport {
  const [first, last] = [reports[0], reports.at(-1)];
  if (first === undefined || last === undefined) throw new WhetstoneError('INTERNAL', 'A staged run has no report.');
  const { stage: _, ...rest } = last;
  const seconds = reports.reduce((sum, report) => sum + report.seconds, 0);
  const rate = (of: (report: RunReport) => number): number =>
    seconds > 0 ? reports.reduce((sum, report) => sum + of(report) * report.seconds, 0) / seconds : 0;
  return {
    ...rest,
    stages: reports,
    evalLossBefore: first.evalLossBefore,
    steps: reports.reduce((sum, { steps }) => sum + steps, 0),
    seconds,
    samplesPerSecond: rate((report) => report.samplesPerSecond),
    tokensPerSecond: rate((report) => report.tokensPerSecond),
    supervisedTokensPerSecond: rate((report) => report.supervisedTokensPerSecond),
    peakMemoryBytes: Math.max(...reports.map(({ peakMemoryBytes }) => peakMemoryBytes)),
    outputFolder,
  };
}
