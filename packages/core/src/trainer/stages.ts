import { join } from 'node:path';
import {
  abandon,
  cleanCheckpoints,
  copyCompanionFiles,
  listCheckpoints,
  recordError,
  writeModel,
  writeStopTokens,
} from '../checkpoint/index.js';
import { checkStages, type ResolvedStage } from '../config/resolve-stages.js';
import type { ConfigResolution } from '../config/resolve-config.js';
import type { ResolvedConfig } from '../config/types.js';
import {
  LOADED_MODEL,
  WhetstoneError,
  type Attachment,
  type LoadedModel,
  type RunPlan,
  type RunReport,
  type StepReport,
} from '../contract/index.js';
import { provide, type ServiceRegistration } from '../container.js';
import type { EventHub } from '../events.js';
import { exists, writeFolder, writeResultManifest } from '../files/index.js';
import type { RunStage } from '../training/train-run.js';
import { TEMPLATE_TIME, type StageComposition } from './compose/index.js';
import {
  importState,
  readStageTransfer,
  exportState,
  writeStageTransfer,
  type StageTransfer,
} from './stage-transfer.js';
import { checkOutputFolder, claimOutputFolder, prepareOutputFolder, templateTimeIn } from './output-folder.js';
import { followSteps } from './follow-steps.js';
import { createOutputLock, noOutputLock, type LockLogger, type OutputLock } from './output-lock.js';
import { findResume, stageFolder, writeDone, type StageResume } from './stage-folders.js';

/** Composes and trains one run, or one stage of a run, with additional services. */
export type RunOneStage = (
  resolution: ConfigResolution,
  services: readonly ServiceRegistration[],
  stage?: StageComposition,
) => AsyncGenerator<StepReport, RunReport, void>;

export interface StageRunner {
  readonly events: EventHub;
  readonly runOne: RunOneStage;
  /** Reports what concerns the folder of the whole run. */
  readonly logger: LockLogger;
  /** Whether runs load their model, so that a stage can load it again. False if the application registers the model. */
  readonly loadsModel: boolean;
  /** Reports missing files of a stage's data. */
  checkData(stage: ResolvedStage): Promise<void>;
}

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
  runner: StageRunner,
): AsyncGenerator<StepReport, RunReport, void> {
  const { folder } = stages[0]?.resolution.config.output ?? { folder: null };
  const lock = folder === null ? noOutputLock : createOutputLock(folder, runner.logger);
  const { lastStep, end } = followSteps(runner.events);
  try {
    const run = await openStagedRun(stages, runner, lock);
    try {
      for (let index = run.doneStages; index < stages.length; index++) yield* run.train(index);
    } finally {
      run.dispose();
    }
    return run.report();
  } catch (error) {
    await recordError(lock.heldFolder(), error, lastStep());
    throw error;
  } finally {
    end();
    await lock.release();
  }
}

export interface StagePlanner extends Pick<StageRunner, 'events' | 'logger' | 'checkData'> {
  /** Composes one stage and describes what it would do. */
  planOne(resolution: ConfigResolution, stage: StageComposition): Promise<RunPlan>;
}

/**
 * Describes what all stages would do, without writing. The first stage that is not done is resumed; later ones are
 * planned on the model of the configuration, because the weights that they start from do not exist yet.
 */
export async function planStages(stages: readonly ResolvedStage[], planner: StagePlanner): Promise<readonly RunPlan[]> {
  const config = configOf(stages);
  const names = stages.map(({ name }) => name ?? '');
  const root = config.output.folder;
  await checkOutputFolder(config, planner.logger);
  const resume = await findResume(config, names);
  const done = resume?.done.length ?? 0;
  await checkStages(stages.slice(done), (stage) => planner.checkData(stage));
  const plans: RunPlan[] = [];
  for (const [index, stage] of stages.entries()) {
    if (index < done) continue;
    planner.events.emit('stage:start', { name: names[index] ?? '', index, count: stages.length });
    plans.push(await planStage(stage, stages, { index, root, names, resume: index === done ? resume : null }, planner));
  }
  return plans;
}

interface StagePosition {
  readonly index: number;
  readonly root: string | null;
  readonly names: readonly string[];
  /** Set if the stage is the one that the run resumes. */
  readonly resume: StageResume | null;
}

async function planStage(
  stage: ResolvedStage,
  stages: readonly ResolvedStage[],
  { index, root, names, resume }: StagePosition,
  planner: StagePlanner,
): Promise<RunPlan> {
  const next = stages[index + 1];
  const name = names[index] ?? '';
  const modelFolder = root === null || resume === null ? null : modelBefore(root, names, index);
  const resolution = stageResolution(stage.resolution, root === null ? null : stageFolder(root, index, name), {
    resumeFromCheckpoint: resume?.next ?? null,
    path: modelFolder,
  });
  let ours: LoadedModel | null = null;
  try {
    return await planner.planOne(resolution, {
      run: {
        name,
        index,
        count: stages.length,
        modelFolder,
        resultFolder: null,
        importState: async (owner) => {
          if (next !== undefined && !sameOwner(stage, next)) requireMerge(owner, stage, next);
        },
      },
      isLast: next === undefined,
      useModel: (model, isOurs) => {
        if (isOurs) ours = model;
      },
      lock: noOutputLock,
      claimOutput: async () => undefined,
    });
  } finally {
    (ours as LoadedModel | null)?.model.dispose();
  }
}

/** Returns the configuration of a run with stages: that of the first stage, with those of all. */
function configOf(stages: readonly ResolvedStage[]): ResolvedConfig {
  const [first] = stages;
  if (first === undefined) throw new WhetstoneError('INTERNAL', 'A staged run has no stage.');
  return {
    ...first.resolution.config,
    stages: stages.map(({ name, resolution }) => ({ name: name ?? '', config: resolution.config })),
  };
}

/** Checks and locks the output folder, checks the data of a staged run, and finds the stage at which it starts. */
async function openStagedRun(
  stages: readonly ResolvedStage[],
  runner: StageRunner,
  lock: OutputLock,
): Promise<StagedRun> {
  const config = configOf(stages);
  await checkOutputFolder(config, runner.logger);
  await lock.take();
  await prepareOutputFolder(config);
  const resume = await findResume(
    config,
    stages.map(({ name }) => name ?? ''),
  );
  // Missing files of all stages are reported before the first stage is trained.
  await checkStages(stages.slice(resume?.done.length ?? 0), (stage) => runner.checkData(stage));
  const templateTime = resume === null ? null : await savedStageTime(config.output.folder, stages);
  return new StagedRun(config, stages, resume, runner, lock, templateTime);
}

/** Returns the time that the chat templates of a resumed run write: that of the first stage that stored one. */
async function savedStageTime(root: string | null, stages: readonly ResolvedStage[]): Promise<Date | null> {
  if (root === null) return null;
  for (const [index, { name }] of stages.entries()) {
    const time = await templateTimeIn(stageFolder(root, index, name ?? ''));
    if (time !== null) return time;
  }
  return null;
}

/** What a stage leaves for the next one, besides the model. */
interface StageResult {
  /** The state for a next stage with the same strategy. */
  transfer: StageTransfer | null;
  /** Whether the adapter was merged into the model, for a next stage with a different strategy. */
  isMerged: boolean;
}

/** A run with stages: the reports of those that are done, and what the next stage continues with. */
class StagedRun {
  private readonly names: readonly string[];
  private readonly root: string | null;
  private readonly reports: RunReport[];
  /** The model of the previous stage; null if the next stage loads its model. */
  private loaded: LoadedModel | null = null;
  private ownsModel = false;
  private transfer: StageTransfer | null = null;
  private isClaimed = false;

  constructor(
    private readonly config: ResolvedConfig,
    private readonly stages: readonly ResolvedStage[],
    private readonly resume: StageResume | null,
    private readonly runner: StageRunner,
    private readonly lock: OutputLock,
    /** The time that the chat templates of all stages write; null until the first one is loaded. */
    private templateTime: Date | null,
  ) {
    this.names = stages.map(({ name }) => name ?? '');
    this.root = config.output.folder;
    this.reports = [...(resume?.done ?? [])];
  }

  get doneStages(): number {
    return this.reports.length;
  }

  /** Trains one stage. */
  async *train(index: number): AsyncGenerator<StepReport, void, void> {
    const { resolution } = this.stageAt(index);
    this.runner.events.emit('stage:start', { name: this.names[index] ?? '', index, count: this.stages.length });
    const modelFolder = this.root === null ? null : modelBefore(this.root, this.names, index);
    const loadedBefore = this.loaded;
    const result: StageResult = { transfer: null, isMerged: false };
    const report = yield* this.runner.runOne(
      stageResolution(resolution, this.folderOf(index), {
        resumeFromCheckpoint: this.resumeOf(index),
        path: loadedBefore === null ? modelFolder : null,
      }),
      [
        ...(loadedBefore === null ? [] : [provide(LOADED_MODEL, loadedBefore)]),
        ...(this.templateTime === null ? [] : [provide(TEMPLATE_TIME, this.templateTime)]),
      ],
      {
        run: this.runOf(index, modelFolder, result),
        isLast: index === this.stages.length - 1,
        useModel: (model, isOurs) => {
          if (this.loaded === null) this.ownsModel = isOurs;
          this.loaded = model;
          const { time } = model.renderer;
          this.templateTime ??= time === undefined ? null : new Date(time);
        },
        lock: this.lock,
        claimOutput: (warn) => this.claimOutput(index, warn),
      },
    );
    await this.finish(index, report, result);
  }

  /** Returns the report of the complete run. */
  report(): RunReport {
    return combineReports(this.reports, this.root);
  }

  dispose(): void {
    if (this.ownsModel) this.loaded?.model.dispose();
    this.loaded = null;
  }

  private stageAt(index: number): ResolvedStage {
    const stage = this.stages[index];
    if (stage === undefined) throw new WhetstoneError('INTERNAL', `A staged run has no stage ${index}.`);
    return stage;
  }

  private folderOf(index: number): string | null {
    return this.root === null ? null : stageFolder(this.root, index, this.names[index] ?? '');
  }

  /** Returns `resumeFromCheckpoint` of a stage. */
  private resumeOf(index: number): string | true | null {
    return index === (this.resume?.done.length ?? 0) ? (this.resume?.next ?? null) : null;
  }

  /** Whether the next stage has the same strategy, and continues with the trained parameters. */
  private continuesAfter(index: number): boolean {
    return index + 1 < this.stages.length && sameOwner(this.stages[index], this.stages[index + 1]);
  }

  /**
   * Returns the state of the previous stage, if this stage continues with it. A resumed run reads it from the folder of
   * that stage, which needs the tensor backend.
   */
  private async transferTo(index: number): Promise<StageTransfer | null> {
    if (this.transfer !== null || index !== this.resume?.done.length || index === 0) return this.transfer;
    const folder = this.folderOf(index - 1);
    return folder !== null && this.continuesAfter(index - 1) ? readTransferFolder(join(folder, TRANSFER_FOLDER)) : null;
  }

  /** Returns how the training of a stage imports the state of the previous one, and exports its own. */
  private runOf(index: number, modelFolder: string | null, result: StageResult): RunStage {
    const next = this.stages[index + 1];
    const continues = this.continuesAfter(index);
    return {
      name: this.names[index] ?? '',
      index,
      count: this.stages.length,
      modelFolder,
      resultFolder: next === undefined ? this.root : this.folderOf(index),
      importState: async (owner) => {
        const received = await this.transferTo(index);
        if (received !== null) importState(owner, received);
        if (next !== undefined && !continues) requireMerge(owner, this.stageAt(index), next);
      },
      exportState: async (owner) => {
        if (next === undefined || owner.exportAdapter === undefined) return;
        if (continues) result.transfer = await exportState(owner);
        else {
          owner.merge?.();
          result.isMerged = true;
        }
      },
    };
  }

  /**
   * Claims the folder of the run, once, and marks the stages before this one as done. A run that resumed from an
   * earlier stage moves what it had of this one aside.
   */
  private async claimOutput(index: number, warn: (message: string) => void): Promise<void> {
    if (!this.isClaimed) await claimOutputFolder(this.config, this.lock);
    if (!this.isClaimed && this.root !== null) await cleanCheckpoints(this.root);
    this.isClaimed = true;
    const folder = this.folderOf(index);
    if (this.root !== null && folder !== null && this.resume !== null && this.resumeOf(index) === null)
      await abandonStage(this.root, folder, warn);
    if (this.root !== null && index === this.reports.length) await writeDone(this.root, this.names, this.reports);
  }

  /** Stores the result of a stage, so that the next stage or a resumed run continues with it. */
  private async finish(index: number, report: RunReport, { transfer, isMerged }: StageResult): Promise<void> {
    const folder = this.folderOf(index);
    this.transfer = transfer;
    if (folder !== null && transfer !== null) await writeStageTransfer(join(folder, TRANSFER_FOLDER), transfer);
    if (folder !== null && isMerged)
      await saveMerged(
        join(folder, MERGED_FOLDER),
        this.loaded,
        this.stageAt(index).resolution.config.chatTemplatePath,
      );
    this.reports.push(report);
    if (this.root !== null) await writeDone(this.root, this.names, this.reports);
    const isLast = index === this.stages.length - 1;
    // A different strategy may store the weights in another format, so it reads them again, as a resumed run does.
    if (this.root !== null && !isLast && !this.continuesAfter(index) && this.ownsModel && this.runner.loadsModel)
      this.dispose();
  }
}

/** @throws `CONFIG_CONFLICT` if a stage with a different strategy follows, but the adapter cannot be merged */
function requireMerge(owner: Attachment, stage: ResolvedStage, next: ResolvedStage): void {
  if (owner.exportAdapter === undefined || owner.merge !== undefined) return;
  throw new WhetstoneError(
    'CONFIG_CONFLICT',
    `Stage '${next.name}' has a different strategy from stage '${stage.name}', whose adapter cannot be merged ` +
      'into the model.',
    {
      expected: 'the same strategy and options in both, or a strategy whose adapter can be merged',
      found: `${ownerOf(stage)}, then ${ownerOf(next)}`,
    },
  );
}

const ownerOf = (stage: ResolvedStage | undefined): string => JSON.stringify(stage?.resolution.config.strategy ?? null);
const sameOwner = (one: ResolvedStage | undefined, other: ResolvedStage | undefined): boolean =>
  ownerOf(one) === ownerOf(other);

/** Returns the folder of the newest model that a stage before `index` wrote; null if there is none. */
function modelBefore(root: string, names: readonly string[], index: number): string | null {
  for (let before = index - 1; before >= 0; before--) {
    for (const name of [MERGED_FOLDER, 'model']) {
      const folder = join(stageFolder(root, before, names[before] ?? ''), name);
      if (exists(join(folder, 'config.json'))) return folder;
    }
  }
  return null;
}

/**
 * Reads the previous stage's state. Returns null if that stage trained the model itself, which is in its model folder.
 */
async function readTransferFolder(folder: string): Promise<StageTransfer | null> {
  return exists(folder) ? readStageTransfer(folder) : null;
}

/** Moves the folder of a stage that is trained again into a new folder `abandoned-<n>/`, if it has a result. */
async function abandonStage(root: string, folder: string, warn: (message: string) => void): Promise<void> {
  const hasResult = ['adapter', 'model'].some((name) => exists(join(folder, name)));
  if (!hasResult && (await listCheckpoints(folder)).length === 0) return;
  const abandoned = await abandon(root, [folder]);
  warn(`The run continues from an earlier stage: ${folder} was moved to ${abandoned} and is not used.`);
}

async function saveMerged(folder: string, loaded: LoadedModel | null, chatTemplatePath: string | null): Promise<void> {
  if (loaded === null) return;
  await writeFolder(folder, async (temporary) => {
    await writeModel(temporary, loaded.model);
    await copyCompanionFiles(temporary, loaded, chatTemplatePath);
    await writeStopTokens(temporary, loaded, false);
    await writeResultManifest(temporary);
  });
}

/** Returns the configuration of a stage in its own folder. `path` replaces the configured model. */
function stageResolution(
  resolution: ConfigResolution,
  folder: string | null,
  { resumeFromCheckpoint, path }: { readonly resumeFromCheckpoint: string | true | null; readonly path: string | null },
): ConfigResolution {
  const { config } = resolution;
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
