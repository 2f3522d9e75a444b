import { randomBytes } from 'node:crypto';
import { writeSync } from 'node:fs';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import type { ResolvedConfig } from '@whetstone/core/config';
import {
  batchSchema,
  isWhetstoneError,
  WhetstoneError,
  type ChatRenderer,
  type DataSource,
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
  enforceUnreadableLimit,
  findLeaks,
  formatInspection,
  inspectConversation,
  leakageError,
  progressLine,
  proveSupervision,
  readGate,
  reportToHtml,
  type BatchOptions,
  type ReadingProgress,
  type ThreadOptions,
} from '@whetstone/data/internal';
import { applyTransforms } from '@whetstone/data';
import { TRUNCATION_MODES } from '@whetstone/data/choices';
import { loadRenderer, loadTokenizer } from '@whetstone/models';
import { findModelFolder } from '../fetched-models.js';
import { table, transformTable } from '../format.js';
import { createLossMeter } from '../loss-meter.js';
import { openModel } from '../open-model.js';
import { createTerminal, type Terminal } from '../terminal.js';
import { batchOptionsOf, nameUnknownRoles, openData, openTransforms } from './open-data.js';

const { maxLength: lengthSchema, truncationMode: truncationSchema } = batchSchema.properties;

/** Options of everything that reads data. */
export interface DataOptions {
  readonly json?: boolean;
  readonly layout?: string;
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

/** Returns the options of batches: those of the command line, then those of the configuration, then the defaults. */
function batchingOf(
  options: DataOptions,
  config: ResolvedConfig | null,
): Partial<BatchOptions> & Pick<BatchOptions, 'maxLength' | 'truncationMode'> {
  const configured = batchOptionsOf(config);
  return {
    ...configured,
    maxLength: options.maxLength ?? (config === null ? lengthSchema.default : config.data.maxLength),
    truncationMode:
      options.truncationMode === undefined && config !== null ? config.data.truncationMode : truncationModeOf(options),
  };
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
async function writeWhole(
  file: string,
  fill: (write: (part: string | Uint8Array) => void) => Promise<void> | void,
): Promise<void> {
  const temporary = `${file}.${randomBytes(6).toString('hex')}.partial`;
  try {
    const handle = await open(temporary, 'wx');
    try {
      await fill((part) => {
        const bytes = typeof part === 'string' ? Buffer.from(part) : part;
        for (let done = 0; done < bytes.length;) done += writeSync(handle.fd, bytes, done);
      });
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function openGate(file: string): Promise<QualityGate> {
  let value: unknown;
  try {
    value = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new WhetstoneError('CONFIG_UNREADABLE', `The quality gate cannot be read: ${(cause as Error).message}`, {
      place: { file },
      cause,
    });
  }
  return readGate(value);
}

/** `whetstone data report FILES`: writes an HTML page about a data set; `--json` prints the same as data. */
export async function dataReport(
  paths: readonly string[],
  options: DataOptions & {
    readonly out: string;
    readonly gate?: string;
    readonly losses?: number;
    readonly backend?: string;
  },
): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const gate = options.gate === undefined ? {} : await openGate(options.gate);
  const data = await openData(paths, options.layout, terminal);
  await nameUnknownRoles(data, terminal);
  const source = applyTransforms(data.source, data.transforms);
  const { model, backend } = options;
  const chatTemplate = options.chatTemplate ?? data.config?.chatTemplatePath ?? undefined;
  // The model of a configuration is read only for its tokenizer, unless losses are requested.
  const { losses = model === undefined ? 0 : 200 } = options;
  const batching = batchingOf(options, data.config);
  const measured = model ?? data.config?.model.path ?? undefined;
  const opened = measured === undefined || losses === 0 ? null : await openModel(measured, { backend, chatTemplate });
  const tokenizing = opened ?? (await tokenizingOf(model, data.config, chatTemplate, terminal));
  if (opened)
    terminal.line(
      `Measuring the loss of up to ${losses} conversations with ${basename(opened.folder)} on ` +
        `${opened.backend.backend} (--losses sets the number; 0 for none)`,
    );
  const report = await analyseData({
    title: paths.map((path) => basename(path)).join(', '),
    source,
    options: batching,
    threads: threadsOf(options, terminal),
    tokenizing,
    lossesOf: opened === null ? undefined : createLossMeter(opened, batching.maxLength ?? opened.model.maxLength),
    lossSample: losses,
    reports: () => source.reports,
  }).finally(() => opened?.dispose());
  const file = resolve(options.out);
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
  terminal.result({ file, report });
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
  const data = await openData(paths, options.layout, terminal);
  const model = options.model ?? data.config?.model.path ?? null;
  if (model === null)
    throw new WhetstoneError('USAGE', 'No model was given.', {
      expected: '--model MODEL, or a configuration in place of the files',
    });
  const tokenizing = await openTokenizing(model, options.chatTemplate ?? data.config?.chatTemplatePath ?? undefined);
  await nameUnknownRoles(data, terminal);
  const source = applyTransforms(data.source, data.transforms);
  const batching = batchingOf(options, data.config);
  const inspections = [];
  for await (const conversation of source.conversations()) {
    if (inspections.length === options.count) break;
    const inspection = inspectConversation(conversation, tokenizing, batching);
    inspections.push({ origin: conversation.origin, ...inspection });
    terminal.line(terminal.paint.bold(`${conversation.origin.file ?? ''}:${conversation.origin.line ?? 0}`));
    terminal.line(formatInspection(inspection, { colors: terminal.paint.isColorSupported }));
  }
  if (inspections.length > 0)
    terminal.line(
      terminal.paint.isColorSupported
        ? `${terminal.paint.black(terminal.paint.bgGreen('supervised'))}  ${terminal.paint.dim('context')}  ` +
            `${terminal.paint.red(terminal.paint.strikethrough('cut off'))}\n`
        : '⟦supervised⟧  context  ⟨cut off⟩\n',
    );
  const proof = await proveSupervision({
    source,
    ...tokenizing,
    options: batching,
    threads: threadsOf(options, terminal),
  });
  for (const { text, good } of describeProof(proof))
    terminal.line(`${good ? terminal.paint.green('✓') : terminal.paint.red('✗')} ${text}`);
  terminal.result({ inspections, proof });
}

/**
 * `whetstone data leaks TRAIN EVAL`: an error where evaluation data is also in the training data. Without EVAL, both
 * are those of a configuration.
 */
export async function dataLeaks(train: string, evaluation: string | undefined, options: DataOptions): Promise<void> {
  const terminal = createTerminal(options.json === true);
  const opened = await openData([train], options.layout, terminal);
  if (evaluation === undefined && opened.config === null)
    throw new WhetstoneError('USAGE', 'No evaluation data was given.', {
      expected: 'a second file, or a configuration with data.eval or data.evalShare',
    });
  const source = applyTransforms(opened.source, opened.transforms);
  const other = await openData([evaluation ?? train], options.layout, terminal, 'eval');
  const held = applyTransforms(other.source, other.transforms);
  const { leakage = 'error' } = opened.config?.data ?? {};
  const threshold = typeof leakage === 'string' ? undefined : leakage.threshold;
  const leaks = await findLeaks(source, held, threshold === undefined ? {} : { threshold, near: threshold < 1 });
  // What cannot be read may leak, too.
  if (leaks.count === 0) checkUnreadable(source.unreadable);
  if (leaks.count > 0) throw leakageError(leaks);
  terminal.line('No conversation of the evaluation data is in the training data.');
  terminal.result({ leaks: 0 });
}

/** The transforms of `data clean` if neither `--with` nor a configuration names any. */
const defaultCleaners = ['normalize-text', 'quality-filter', 'redact', 'deduplicate'];

/** @throws `USAGE` if the policy is not error, skip or a share */
function unreadablePolicyOf(text: string): BatchOptions['unreadableRows'] {
  if (text === 'error' || text === 'skip') return text;
  const maxShare = text.trim() === '' ? NaN : Number(text);
  if (maxShare >= 0 && maxShare <= 1) return { maxShare };
  throw new WhetstoneError('USAGE', 'The value of --unreadable-rows is invalid.', {
    expected: 'error, skip, or the largest share of all rows to skip, such as 0.01',
    found: text,
  });
}

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

/** Reports rows that were skipped because they cannot be read. */
function tellSkipped(unreadable: DataSource['unreadable'], terminal: Terminal): void {
  const [first] = unreadable;
  if (first === undefined) return;
  const { file = '', line, index } = first.origin;
  terminal.complain(
    `${terminal.paint.yellow('warning:')} ${unreadable.length} ${unreadable.length === 1 ? 'row' : 'rows'} cannot be ` +
      `read and are not in the output; the first is ${file}:${line ?? index + 1}: ${first.reason}`,
  );
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
  const data = await openData(paths, options.layout, terminal);
  const policy =
    options.unreadableRows === undefined
      ? (data.config?.data.unreadableRows ?? 'error')
      : unreadablePolicyOf(options.unreadableRows);
  const configured = options.with === undefined && (data.config?.data.transforms.length ?? 0) > 0;
  const own = configured ? [] : await openCleaners(options.with ?? defaultCleaners, terminal);
  // With --with, only the split of data.evalShare remains of the configuration's transforms.
  const kept = configured
    ? data.transforms
    : data.transforms.slice(0, typeof data.config?.data.evalShare === 'number' ? 1 : 0);
  await nameUnknownRoles(data, terminal);
  const source = applyTransforms(data.source, [...kept, ...own]);
  const file = resolve(options.out);
  await writeWhole(file, async (write) => {
    await cleanRows(source, write, threadsOf(options, terminal));
    const readable = source.reports[0]?.conversationsIn ?? 0;
    try {
      enforceUnreadableLimit(source.unreadable, readable, policy);
    } catch (error) {
      if (!isWhetstoneError(error)) throw error;
      const hint = 'Correct these rows, or skip them with --unreadable-rows skip. Skipped rows are counted.';
      throw WhetstoneError.with(error, { hint });
    }
  });
  tellSkipped(source.unreadable, terminal);
  if (options.removals !== undefined) {
    await writeWhole(resolve(options.removals), (write) => {
      for (const { name, removals } of source.reports)
        for (const removal of removals) write(`${JSON.stringify({ transform: name, ...removal })}\n`);
    });
  }
  terminal.line(transformTable(source.reports));
  terminal.line(`The remaining conversations are in ${file}`);
  terminal.result({
    file,
    transforms: source.reports.map(({ removals: _removals, ...report }) => report),
    unreadable: source.unreadable.length,
  });
}
