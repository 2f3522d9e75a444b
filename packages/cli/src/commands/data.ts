import { writeSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import type { ResolvedConfig } from '@whetstone/core/config';
import {
  batchSchema,
  isWhetstoneError,
  WhetstoneError,
  type ChatRenderer,
  type DataTransform,
  type QualityGate,
  type Tokenizer,
} from '@whetstone/core/contract';
import {
  analyseData,
  checkGate,
  checkUnreadable,
  cleanRows,
  describeProof,
  enforceGate,
  findLeaks,
  formatInspection,
  inspectConversation,
  leakageError,
  progressLine,
  proveSupervision,
  readGate,
  reportToHtml,
  type AnalyseInputs,
  type BatchOptions,
  type LeakFindings,
  type ReadingProgress,
  type ThreadOptions,
} from '@whetstone/data/internal';
import { checkWritableFile, readText, writeAtomically } from '@whetstone/core/files';
import { TRUNCATION_MODES } from '@whetstone/data/choices';
import { loadRenderer, loadTokenizer } from '@whetstone/models';
import { findModelFolder } from '../fetched-models.js';
import { table, transformTable } from '../format.js';
import { createLossMeter } from '../loss-meter.js';
import { openModel } from '../open-model.js';
import { createTerminal, type Terminal } from '../terminal.js';
import { printLegend } from '../run-plan.js';
import {
  batchOptionsOf,
  distinctData,
  handleUnreadable,
  joinData,
  leakPairs,
  nameUnknownRoles,
  openData,
  openTransforms,
  stageNames,
  tellStages,
  unreadablePolicyOf,
  type AllData,
  type CommandData,
  type SelectionOptions,
} from './open-data.js';

const { maxLength: lengthSchema, truncationMode: truncationSchema } = batchSchema.properties;

/** Options of everything that reads data. */
export interface DataOptions extends SelectionOptions {
  readonly json?: boolean;
  readonly model?: string;
  readonly chatTemplate?: string;
  readonly maxLength?: number;
  readonly truncationMode?: string;
  /** Worker threads; by default as many as there are cores. */
  readonly workers?: number;
}

function truncationModeOf({ truncationMode = truncationSchema.default }: DataOptions): BatchOptions['truncationMode'] {
  const mode = TRUNCATION_MODES.find((name) => name === truncationMode);
  if (mode === undefined)
    throw new WhetstoneError('USAGE', `Unknown truncation mode "${truncationMode}".`, {
      expected: TRUNCATION_MODES.join(', '),
    });
  return mode;
}

/** Reports progress: one line that is redrawn on a terminal, otherwise a line every few seconds. */
function showProgress(terminal: Terminal): (progress: ReadingProgress) => void {
  let last = 0;
  return (progress) => {
    if (progress.seconds - last < 5) return;
    last = progress.seconds;
    terminal.line(progressLine(progress));
  };
}

const threadsOf = ({ workers }: DataOptions, terminal: Terminal): ThreadOptions => ({
  workers: workers ?? null,
  onNote: (note) => terminal.line(note),
  onProgress: showProgress(terminal),
});

/** Loads the tokenizer and chat template of a model without its weights. */
async function openTokenizing(
  model: string,
  chatTemplate?: string,
): Promise<{ tokenizer: Tokenizer; renderer: ChatRenderer }> {
  const folder = await findModelFolder(model);
  const tokenizer = await loadTokenizer(folder);
  return { tokenizer, renderer: await loadRenderer(folder, tokenizer, { chatTemplatePath: chatTemplate ?? null }) };
}

type Batching = Partial<BatchOptions> & Pick<BatchOptions, 'maxLength' | 'truncationMode'>;

/** Returns the options of batches: those of the command line, then those of the configuration, then the defaults. */
function batchingOf(options: DataOptions, config: ResolvedConfig | null): Batching {
  const configured = batchOptionsOf(config);
  return {
    ...configured,
    maxLength: options.maxLength ?? (config === null ? lengthSchema.default : config.data.maxLength),
    truncationMode:
      options.truncationMode === undefined && config !== null ? config.data.truncationMode : truncationModeOf(options),
  };
}

/** Returns the options of `data` in which the stages differ, by name. */
function differingOptions(options: DataOptions, [first, ...others]: AllData): readonly string[] {
  const own = batchingOf(options, first.config);
  const differs = (key: keyof Batching): boolean =>
    others.some(({ config }) => JSON.stringify(batchingOf(options, config)[key]) !== JSON.stringify(own[key]));
  return (Object.keys(own) as (keyof Batching)[]).filter(differs).map((key) => `data.${key}`);
}

/**
 * Loads the tokenizer of the command line's model, or else that of the configuration. Without the latter, a report has
 * no lengths in tokens.
 */
async function tokenizingOf(
  model: string | undefined,
  config: ResolvedConfig | null,
  chatTemplate: string | undefined,
  terminal: Terminal,
): Promise<Awaited<ReturnType<typeof openTokenizing>> | undefined> {
  if (model !== undefined) return openTokenizing(model, chatTemplate);
  const configured = config?.model.path ?? null;
  if (configured === null) return undefined;
  try {
    return await openTokenizing(configured, chatTemplate);
  } catch (error) {
    if (!isWhetstoneError(error) || error.code !== 'MODEL_NOT_FOUND') throw error;
    terminal.line(`Lengths in tokens are left out: ${error.message}`);
    return undefined;
  }
}

/** Writes a file atomically: `fill` receives a function that appends to it. */
const writeWhole = (
  file: string,
  fill: (write: (part: string | Uint8Array) => void) => Promise<void> | void,
): Promise<void> =>
  writeAtomically(file, async (handle) => {
    await fill((part) => {
      const bytes = typeof part === 'string' ? Buffer.from(part) : part;
      for (let done = 0; done < bytes.length;) done += writeSync(handle.fd, bytes, done);
    });
  });

async function openGate(file: string): Promise<QualityGate> {
  let value: unknown;
  try {
    value = JSON.parse(await readText(file));
  } catch (cause) {
    throw new WhetstoneError('CONFIG_UNREADABLE', `The quality gate cannot be read: ${(cause as Error).message}`, {
      place: { file },
      cause,
    });
  }
  return readGate(value);
}

/** What a report measures with a model. */
type ReportModel = Pick<AnalyseInputs, 'options' | 'tokenizing' | 'lossesOf' | 'lossSample'> & { dispose(): void };

/**
 * Opens what a report measures lengths and losses with: the model of the command line, or the tokenizer of the
 * configuration's model, which is read only if losses are requested.
 *
 * @throws `USAGE` if a model was given, and the stages render conversations differently
 */
async function openReportModel(options: ReportOptions, all: AllData, terminal: Terminal): Promise<ReportModel> {
  const [{ config }] = all;
  const { model, backend } = options;
  const { losses = model === undefined ? 0 : 200 } = options;
  const batching = batchingOf(options, config);
  const differing = differingOptions(options, all);
  if (differing.length > 0) {
    const message = `The stages have different ${differing.join(', ')}.`;
    const hint = 'Name one stage with --stage.';
    if (model !== undefined || losses > 0) throw new WhetstoneError('USAGE', message, { hint });
    terminal.line(`Lengths in tokens are left out: ${message} ${hint}`);
    return { options: batching, dispose: () => undefined };
  }
  const chatTemplate = options.chatTemplate ?? config?.chatTemplatePath ?? undefined;
  const measured = model ?? config?.model.path ?? undefined;
  const opened = measured === undefined || losses === 0 ? null : await openModel(measured, { backend, chatTemplate });
  if (opened === null) {
    const tokenizing = await tokenizingOf(model, config, chatTemplate, terminal);
    return { options: batching, tokenizing, dispose: () => undefined };
  }
  terminal.line(
    `Measuring the loss of up to ${losses} conversations with ${basename(opened.folder)} on ` +
      `${opened.backend.backend} (--losses sets the number; 0 for none)`,
  );
  return {
    options: batching,
    tokenizing: opened,
    lossesOf: createLossMeter(opened, batching.maxLength ?? opened.model.maxLength),
    lossSample: losses,
    dispose: () => opened.dispose(),
  };
}

interface ReportOptions extends DataOptions {
  readonly out: string;
  readonly gate?: string;
  readonly losses?: number;
  readonly backend?: string;
}

/** `whetstone data report FILES`: writes an HTML page about a data set; `--json` prints the same as data. */
export async function dataReport(paths: readonly string[], options: ReportOptions): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const gate = options.gate === undefined ? {} : await openGate(options.gate);
  const file = resolve(options.out);
  await checkWritableFile(file);
  const all = await openData(paths, options, terminal);
  tellStages(all, terminal);
  await nameUnknownRoles(distinctData(all), terminal);
  const { source, reports } = joinData(distinctData(all));
  const opened = await openReportModel(options, all, terminal);
  const report = await analyseData({
    title: paths.map((path) => basename(path)).join(', '),
    source,
    threads: threadsOf(options, terminal),
    ...opened,
    reports,
  }).finally(() => opened.dispose());
  await writeWhole(file, (write) => write(reportToHtml(report, checkGate(report, gate))));
  const { conversations, duplicates, suspects, unreadable, scores } = report;
  terminal.line(
    table([
      ['conversations', String(conversations)],
      ['mean score', `${scores.mean.toFixed(0)} of 100`],
      ['duplicates', `${duplicates.exact} exact, ${duplicates.near} near`],
      ['suspects', String(suspects.count)],
      ['unreadable rows', String(unreadable.count)],
      ...(report.difficulty
        ? [
            [
              'mean loss',
              `${report.difficulty.losses.mean.toFixed(2)} of ${report.difficulty.losses.count} conversations`,
            ],
          ]
        : []),
      ...(report.tokens
        ? [['tokens', `${report.tokens.total}, of which ${report.tokens.supervised} are supervised`]]
        : []),
    ]),
  );
  terminal.line(`The report is in ${file}`);
  terminal.result({ file, stages: stageNames(all), report });
  enforceGate(report, gate);
}

/**
 * `whetstone data inspect FILES --model MODEL`: verifies the supervision and prints the first conversations as the
 * model sees them, supervised tokens in colour.
 */
export async function dataInspect(
  paths: readonly string[],
  options: DataOptions & { readonly count: number },
): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const all = await openData(paths, options, terminal);
  tellStages(all, terminal);
  const inspected: Inspected[] = [];
  for (const data of distinctData(all, ({ config }) => batchingOf(options, config))) {
    if (all.length > 1) terminal.line(terminal.paint.bold(`Stage ${data.stage ?? ''}`));
    inspected.push(await inspectStage(data, options, terminal));
  }
  const inspections = inspected.flatMap((one) => one.inspections);
  const proofs = inspected.map(({ proof }) => proof);
  terminal.result(all.length === 1 ? { inspections, proof: proofs[0] } : { inspections, proofs });
}

/** What a stage supervises. The names of stages are absent without stages. */
interface Inspected {
  readonly inspections: readonly object[];
  readonly proof: object;
}

/** Prints the first conversations of a stage, and its supervision. */
async function inspectStage(
  data: CommandData,
  options: DataOptions & { readonly count: number },
  terminal: Terminal,
): Promise<Inspected> {
  const model = options.model ?? data.config?.model.path ?? null;
  if (model === null)
    throw new WhetstoneError('USAGE', 'No model was given.', {
      expected: '--model MODEL, or a configuration in place of the files',
    });
  const tokenizing = await openTokenizing(model, options.chatTemplate ?? data.config?.chatTemplatePath ?? undefined);
  await nameUnknownRoles([data], terminal);
  const { source } = joinData([data]);
  const batching = batchingOf(options, data.config);
  const stage = data.stage ?? undefined;
  const inspections = [];
  for await (const conversation of source.conversations()) {
    if (inspections.length === options.count) break;
    const inspection = inspectConversation(conversation, tokenizing, batching);
    inspections.push({ stage, origin: conversation.origin, ...inspection });
    terminal.line(terminal.paint.bold(`${conversation.origin.file ?? ''}:${conversation.origin.line ?? 0}`));
    terminal.line(formatInspection(inspection, terminal.paint));
  }
  if (inspections.length > 0) printLegend(terminal);
  const proof = await proveSupervision({
    source,
    ...tokenizing,
    options: batching,
    threads: threadsOf(options, terminal),
  });
  for (const { text, good } of describeProof(proof))
    terminal.line(`${good ? terminal.paint.green('✓') : terminal.paint.red('✗')} ${text}`);
  return { inspections, proof: { stage, ...proof } };
}

/**
 * `whetstone data leaks TRAIN EVAL`: an error where evaluation data is also in the training data. Without EVAL, both
 * are those of a configuration: the evaluation data of a stage must not be in the training data of this or an earlier
 * stage.
 */
export async function dataLeaks(train: string, evaluation: string | undefined, options: DataOptions): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const training = await openData([train], options, terminal);
  const [{ config }] = training;
  if (evaluation === undefined && config === null)
    throw new WhetstoneError('USAGE', 'No evaluation data was given.', {
      expected: 'a second file, or a configuration with data.eval or data.evalShare',
    });
  tellStages(training, terminal);
  const { layout } = options;
  const pairs =
    evaluation === undefined
      ? leakPairs(training, await openData([train], options, terminal, 'eval'))
      : (await openData([evaluation], { layout }, terminal, 'eval')).map((data) => [training, data] as const);
  const leaks: LeakFindings[] = [];
  for (const [earlier, held] of pairs) leaks.push(await leaksOf(earlier, held));
  const count = leaks.reduce((sum, found) => sum + found.count, 0);
  if (count > 0) throw leakageError({ count, first: leaks.flatMap(({ first }) => first) });
  terminal.line('No conversation, exchange or long reply of the evaluation data is in the training data.');
  terminal.result({ leaks: 0, stages: stageNames(training) });
}

async function leaksOf(training: AllData, held: CommandData): Promise<LeakFindings> {
  const { source } = joinData(training);
  const { leakage = 'error' } = (held.config ?? training[0].config)?.data ?? {};
  const threshold = typeof leakage === 'string' ? undefined : leakage.threshold;
  const options = threshold === undefined ? {} : { threshold, near: threshold < 1 };
  const leaks = await findLeaks(source, joinData([held]).source, options);
  // What cannot be read may leak, too.
  if (leaks.count === 0) checkUnreadable(source.unreadable);
  return leaks;
}

/** The transforms of `data clean` if neither `--with` nor a configuration names any. */
const defaultCleaners = ['normalize-text', 'quality-filter', 'redact', 'deduplicate'];

/** @throws `USAGE` if a transform does not exist */
async function openCleaners(given: readonly string[], terminal: Terminal): Promise<DataTransform[]> {
  try {
    return await openTransforms(given, 42, terminal);
  } catch (error) {
    if (!isWhetstoneError(error) || error.code !== 'PLUGIN_NOT_FOUND') throw error;
    const { message, found, hint } = error;
    throw new WhetstoneError('USAGE', message, { expected: 'names of data transforms', found, hint, cause: error });
  }
}

/**
 * `whetstone data clean FILES --out FILE`: writes the remaining, cleaned conversations as JSON Lines, and reports why
 * others were removed.
 */
export async function dataClean(
  paths: readonly string[],
  options: DataOptions & {
    readonly out: string;
    readonly with?: readonly string[];
    readonly removals?: string;
    readonly unreadableRows?: string;
  },
): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const policy = unreadablePolicyOf(options.unreadableRows);
  const all = await openData(paths, options, terminal);
  tellStages(all, terminal);
  const distinct = distinctData(all);
  const isConfigured =
    options.with === undefined && distinct.some(({ config }) => (config?.data.transforms.length ?? 0) > 0);
  const own = isConfigured ? [] : await openCleaners(options.with ?? defaultCleaners, terminal);
  await nameUnknownRoles(distinct, terminal);
  const data = joinData(isConfigured ? distinct : onlySplits(distinct), own);
  const file = resolve(options.out);
  if (options.removals !== undefined) await checkWritableFile(resolve(options.removals));
  await writeWhole(file, async (write) => {
    await cleanRows(data.source, write, threadsOf(options, terminal));
    handleUnreadable(data, policy, 0, terminal);
  });
  const reports = data.reports();
  if (options.removals !== undefined) {
    await writeWhole(resolve(options.removals), (write) => {
      for (const { name, removals } of reports)
        for (const removal of removals) write(`${JSON.stringify({ transform: name, ...removal })}\n`);
    });
  }
  terminal.line(transformTable(reports));
  terminal.line(`The remaining conversations are in ${file}`);
  terminal.result({
    file,
    stages: stageNames(all),
    transforms: reports.map(({ removals: _removals, ...report }) => report),
    unreadable: data.source.unreadable.length,
  });
}

/** With `--with`, only the split of `data.evalShare` remains of the transforms of a configuration. */
const onlySplits = ([first, ...others]: AllData): AllData => {
  const onlySplit = (data: CommandData): CommandData => ({
    ...data,
    transforms: data.transforms.slice(0, typeof data.config?.data.evalShare === 'number' ? 1 : 0),
  });
  return [onlySplit(first), ...others.map(onlySplit)];
};
