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

/** Composes and runs one stage; the model that it worked on is told. */
export type RunOneStage = (
  resolution: ConfigResolution,
  services: readonly ServiceRegistration[],
  stage: StageComposition,
  useModel: (loaded: LoadedModel, isOurs: boolean) => void,
) => AsyncGenerator<StepReport, RunReport, void>;

/**
 * The folder of a stage's merged model, where the next stage has another strategy and cannot go on with the adapter.
 */
const MERGED_FOLDER = 'merged';
const TRANSFER_FOLDER = 'hand-over';

/**
 * Runs stages one after the other, each from where the one before ended: the same strategy goes on with what it
 * trained, another one starts from the model with all of that in its weights. All write into one folder, a subfolder
 * each; the last stage's result is the run's. A stage that is done is not run again on resume.
 */
export async function* runStages(
  stages: readonly ResolvedStage[],
  runOne: RunOneStage,
  checkData: (stage: ResolvedStage) => Promise<void>,
): AsyncGenerator<StepReport, RunReport, void> {
  const names = stages.map(({ name }) => name ?? '');
  const [first] = stages;
  if (first === undefined) throw new WhetstoneError('INTERNAL', 'A staged run has no stage.');
  const shared: ResolvedConfig = {
    ...first.resolution.config,
    stages: stages.map(({ name, resolution }) => ({ name: name ?? '', config: resolution.config })),
  };
  const root = shared.output.folder;
  await checkOutputFolder(shared);
  const resume = await findResume(shared, names);
  const reports: RunReport[] = [...(resume?.done ?? [])];
  // A file that is missing is told before the first stage is trained, not after.
  for (const stage of stages.slice(reports.length)) await checkData(stage);
  let loaded: LoadedModel | null = null;
  let handOver: StageTransfer | null = null;
  let claimed = false;
  let disposes = false;
  try {
    for (const [index, { name, resolution }] of stages.entries()) {
      if (index < reports.length) continue;
      const next = stages[index + 1];
      const folder = root === null ? null : stageFolder(root, index, name ?? '');
      const isRead = loaded === null;
      const modelFolder = root === null ? null : modelBefore(root, names, index);
      if (isRead && root !== null && index > 0 && sameOwner(stages[index - 1], stages[index]))
        handOver = await readTransferFolder(
          join(stageFolder(root, index - 1, names[index - 1] ?? ''), TRANSFER_FOLDER),
        );
      const takes = handOver;
      let gives: StageTransfer | null = null;
      const goesOn = next !== undefined && sameOwner(stages[index], next);
      let merges = false;
      const run: RunStage = {
        name: name ?? '',
        index,
        count: stages.length,
        modelFolder,
        resultFolder: next === undefined ? root : folder,
        importState: (owner) => {
          if (takes !== null) importState(owner, takes);
          if (next === undefined || goesOn || owner.exportAdapter === undefined || owner.merge !== undefined) return;
          throw new WhetstoneError(
            'CONFIG_CONFLICT',
            `Stage '${next.name}' has another strategy than stage '${name}', whose adapter cannot become part ` +
              'of the model.',
            {
              expected: 'the same strategy and options in both, or one before it that can be merged',
              found: `${ownerOf(stages[index])}, then ${ownerOf(next)}`,
            },
          );
        },
        exportState: async (owner) => {
          if (next === undefined || owner.exportAdapter === undefined) return;
          if (goesOn) gives = await exportState(owner);
          else {
            owner.merge?.();
            merges = true;
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
        path: isRead ? modelFolder : null,
      });
      const report = yield* runOne(own, services, composition, (model, isOurs) => {
        if (loaded === null) disposes = isOurs;
        loaded = model;
      });
      handOver = gives;
      if (folder !== null && gives !== null) await writeStageTransfer(join(folder, TRANSFER_FOLDER), gives);
      if (folder !== null && merges) await saveMerged(join(folder, MERGED_FOLDER), loaded, shared.chatTemplatePath);
      reports.push(report);
      if (root !== null) await writeDone(root, names, reports);
      // Another strategy may want the weights kept otherwise: it reads them anew, as a run that is resumed there does.
      if (root === null || next === undefined || goesOn || !disposes) continue;
      (loaded as LoadedModel | null)?.model.dispose();
      loaded = null;
    }
  } finally {
    if (disposes) (loaded as LoadedModel | null)?.model.dispose();
  }
  return wholeReport(reports, root);
}

const ownerOf = (stage: ResolvedStage | undefined): string => JSON.stringify(stage?.resolution.config.strategy ?? null);
const sameOwner = (one: ResolvedStage | undefined, other: ResolvedStage | undefined): boolean =>
  ownerOf(one) === ownerOf(other);

/** The model as the latest of the stages before `index` left it on disk; null where none did. */
function modelBefore(root: string, names: readonly string[], index: number): string | null {
  for (let before = index - 1; before >= 0; before -= 1) {
    for (const name of [MERGED_FOLDER, 'model']) {
      const folder = join(stageFolder(root, before, names[before] ?? ''), name);
      if (existsSync(join(folder, 'config.json'))) return folder;
    }
  }
  return null;
}

/** Null where the stage before trained the model itself: that is in its model folder. */
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

/** The configuration of a stage, in its own folder. `path` is the model to start from instead of the configured one. */
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
    // What a stage left that had no checkpoint yet is of no use.
    output: { folder, overwrite: resumeFromCheckpoint === null },
  };
  return { ...resolution, config: Object.freeze(own) };
}

/** One report of all stages: losses before the first and after the last, and sums. */
function wholeReport(reports: readonly RunReport[], outputFolder: string | null): RunReport {
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
